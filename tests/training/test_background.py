"""The worker thread: it never blocks, never raises, and loses nothing it has taken."""

from __future__ import annotations

import logging
import threading

from utils.training.background import BackgroundWorker


def test_jobs_run_in_order_and_close_waits_for_them():
    done = []
    worker = BackgroundWorker("worker")
    for number in range(100):
        worker.submit(lambda number=number: done.append(number))
    assert worker.close()
    assert done == list(range(100))


def test_a_job_that_raises_is_logged_and_the_next_one_runs(caplog):
    done = []
    worker = BackgroundWorker("mail")
    worker.submit(lambda: 1 / 0)
    worker.submit(lambda: done.append("next"))
    worker.close()
    assert done == ["next"]
    assert "mail: a background job failed" in caplog.text


def test_what_does_not_fit_is_dropped_with_one_warning(caplog):
    gate, done = threading.Event(), []
    worker = BackgroundWorker("slow", max_pending=2)
    worker.submit(gate.wait)
    for number in range(10):
        worker.submit(lambda number=number: done.append(number))
    gate.set()
    assert worker.close()
    assert len(done) in (1, 2)  # the first job may or may not have left the queue
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


def test_close_gives_up_after_its_time():
    gate = threading.Event()
    worker = BackgroundWorker("stuck", max_pending=1)
    worker.submit(gate.wait)
    assert not worker.close(timeout_seconds=0.05)
    gate.set()


def test_close_gives_up_where_the_queue_is_full():
    gate, started = threading.Event(), threading.Event()
    worker = BackgroundWorker("full", max_pending=1)
    worker.submit(lambda: (started.set(), gate.wait()))
    started.wait(5)
    worker.submit(lambda: None)
    assert not worker.close(timeout_seconds=0.05)
    gate.set()


def test_closing_twice_or_unused_starts_nothing():
    worker = BackgroundWorker("unused")
    assert worker.close()
    assert worker.close()
    worker.submit(lambda: None)
    assert not worker.is_started
