"""Places for artifacts on their way are given back, however a transfer ends."""

import io

import pytest
from flask import Flask, Response
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import LimitedStream

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


class Silent(io.RawIOBase):
    def readable(self):
        return True

    def readinto(self, _):
        raise TimeoutError


@pytest.mark.parametrize("is_length_known", [False, True])
def test_an_upload_that_is_silent_is_over(transfers, is_length_known):
    body = LimitedStream(Silent(), 100) if is_length_known else Silent()
    for _ in range(2):
        with (
            pytest.raises(ProblemError, match="No byte came for 60 s") as ended,
            transfers.arriving(),
        ):
            body.read(10)
        assert ended.value.status == 408


def test_an_upload_whose_sender_left_is_no_silent_one(transfers):
    with pytest.raises(ClientDisconnected), transfers.arriving():
        LimitedStream(io.BytesIO(b"half"), 100).read()


def test_a_download_gives_its_place_back_when_its_answer_is_closed(transfers):
    for _ in range(2):
        response = transfers.leaving(Response())
        assert_full(transfers)
        response.close()
