"""Which version answers, and when the one before may go."""

import threading
from pathlib import Path

import pytest

from services.serving.backends.protocol import Version
from services.serving.catalogue import Catalogue, UnknownModelError
from tests.waiting import wait_until


def version(number, name="digits"):
    return Version(
        name=name, version=str(number), model_id=number, digest=str(number), folder=Path("x")
    )


ONE, TWO = version(1), version(2)


@pytest.fixture
def catalogue():
    catalogue = Catalogue()
    assert catalogue.switch(ONE) is None
    return catalogue


def test_the_current_version_answers_unless_another_is_named(catalogue):
    assert catalogue.switch(TWO) == ONE
    with catalogue.using("digits") as held:
        assert held == TWO
    with catalogue.using("digits", "1") as held:
        assert held == ONE
    assert catalogue.current("digits") == TWO
    assert catalogue.versions("digits") == [ONE, TWO]
    assert catalogue.names() == ["digits"]


def test_what_is_not_served_is_named_with_what_is(catalogue):
    with pytest.raises(
        UnknownModelError, match="shoes is not served here; served are: digits"
    ) as e:
        catalogue.using("shoes").__enter__()
    assert e.value.status == 404
    with pytest.raises(UnknownModelError, match=r"version 7 of digits .* served are: 1"):
        catalogue.using("digits", "7").__enter__()


def test_a_version_goes_when_its_last_request_is_answered(catalogue):
    retired = []
    with catalogue.using("digits"), catalogue.using("digits"):
        catalogue.switch(TWO)
        thread = threading.Thread(target=lambda: retired.append(catalogue.retire(ONE, 30)))
        thread.start()
        wait_until(lambda: catalogue.versions("digits") == [TWO])
        assert not retired
    thread.join(30)
    assert retired == [True]


def test_a_request_that_does_not_end_holds_a_version_no_longer_than_the_deadline(catalogue):
    with catalogue.using("digits"):
        assert not catalogue.retire(ONE, 0.01)
    assert catalogue.names() == []
    with pytest.raises(UnknownModelError):
        catalogue.using("digits").__enter__()


def test_a_request_that_fails_lets_go_of_its_version(catalogue):
    with pytest.raises(ZeroDivisionError), catalogue.using("digits"):
        raise ZeroDivisionError
    assert catalogue.retire(ONE, 0)


def test_a_name_without_versions_is_unknown_and_comes_back(catalogue):
    catalogue.retire(ONE, 0)
    assert catalogue.versions("digits") == []
    catalogue.switch(TWO)
    assert catalogue.current("digits") == TWO
