"""Places for artifacts on their way are given back, however a transfer ends."""

import pytest
from flask import Flask, Response

from services.registry.transfers import Transfers
from utils.service.problems import ProblemError


@pytest.fixture
def transfers():
    with Flask("registry").test_request_context():
        yield Transfers(most=1)


def assert_full(transfers):
    with pytest.raises(ProblemError, match="Too many artifacts") as refused:
        transfers.leaving(Response())
    assert refused.value.status == 503


@pytest.mark.parametrize("end", [None, ValueError])
def test_an_upload_gives_its_place_back(transfers, end):
    for _ in range(2):
        try:
            with transfers.arriving():
                assert_full(transfers)
                if end is not None:
                    raise end
        except ValueError:
            assert end is ValueError


def test_an_upload_that_is_silent_is_over(transfers):
    for _ in range(2):
        with (
            pytest.raises(ProblemError, match="No byte came for 60 s") as ended,
            transfers.arriving(),
        ):
            raise TimeoutError
        assert ended.value.status == 408


def test_a_download_gives_its_place_back_when_its_answer_is_closed(transfers):
    for _ in range(2):
        response = transfers.leaving(Response())
        assert_full(transfers)
        response.close()
