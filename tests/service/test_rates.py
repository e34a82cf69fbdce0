"""Requests are counted for each caller, in windows that begin afresh."""

import threading

import pytest

from utils.service.rates import RateLimit


class Clock:
    seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def test_a_caller_waits_for_the_next_window_and_no_other_caller_does(clock):
    limit = RateLimit("2/minute", clock)
    assert [limit.wait_seconds("ann") for _ in range(3)] == [0, 0, 60]
    clock.seconds += 20.5
    assert limit.wait_seconds("ann") == 40
    assert limit.wait_seconds("rob") == 0


def test_a_new_window_forgets_all_that_was_counted(clock):
    limit = RateLimit("1/second", clock)
    assert [limit.wait_seconds(name) for name in ("ann", "ann", "rob", "rob")] == [0, 1, 0, 1]
    clock.seconds += 1
    assert [limit.wait_seconds(name) for name in ("ann", "rob")] == [0, 0]
    assert len(limit._counts) == 2


def test_many_threads_get_through_exactly_as_often_as_the_rate_allows():
    limit = RateLimit("1000/day")
    passed = []

    def ask():
        passed.extend(1 for _ in range(500) if not limit.wait_seconds("ann"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 1000
