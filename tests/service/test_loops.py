"""A service's own work: it goes on, whatever one call of it does."""

import threading

from utils.service.loops import Loop


def test_a_loop_goes_on_after_a_failure_and_says_so(caplog):
    third = threading.Event()
    calls = []

    def step():
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("the database is away")
        if len(calls) == 3:
            third.set()

    loop = Loop("reaper", step, interval_seconds=0.01).start()
    assert third.wait(10)
    loop.stop()
    assert "reaper failed" in caplog.text
    assert "the database is away" in caplog.text


def test_a_loop_that_is_woken_does_not_wait():
    called = threading.Semaphore(0)
    loop = Loop("publisher", called.release, interval_seconds=3600).start()
    assert called.acquire(timeout=10)
    loop.wake()
    assert called.acquire(timeout=10)
    loop.stop()


def test_a_stopped_loop_makes_no_other_call():
    calls = []
    loop = Loop("ticker", lambda: calls.append(1), interval_seconds=0.001).start()
    loop.stop()
    seen = len(calls)
    threading.Event().wait(0.05)
    assert len(calls) == seen
