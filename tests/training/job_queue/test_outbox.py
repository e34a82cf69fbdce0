from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from utils.training.database import open_database
from utils.training.job_queue.outbox import mark_nudged


def due(manager):
    return [nudge.job_id for nudge in manager.pending_nudges()]


def test_a_nudge_is_due_until_it_is_marked_sent(manager):
    first = manager.submit_job("training", {}, 3)
    second = manager.submit_job("export", {})
    nudges = manager.pending_nudges()
    assert [(n.job_id, n.job_type, n.priority) for n in nudges] == [
        (first, "training", 3),
        (second, "export", 0),
    ]
    assert due(manager) == [first, second]
    assert len(manager.pending_nudges(limit=1)) == 1
    manager.mark_nudged(nudges)
    assert due(manager) == []


def test_the_first_of_a_type_that_waited_for_long_are_those_to_remind_of(manager, clock):
    low, other = manager.submit_job("training", {}), manager.submit_job("export", {})
    high = manager.submit_job("training", {}, 9)
    clock.turn(seconds=60)
    young = manager.submit_job("training", {}, 5)
    manager.mark_nudged(manager.pending_nudges())

    def reminded(job_type, limit=10):
        return [nudge.job_id for nudge in manager.reminders(job_type, 60, limit)]

    assert reminded("training") == [high, low]
    assert reminded("training", 1) == [high]
    assert reminded("export") == [other]
    manager.claim_job("w", job_id=high)
    clock.turn(seconds=60)
    assert reminded("training") == [young, low]


def test_a_claimed_job_is_not_nudged(manager, clock):
    manager.submit_job("training", {})
    manager.mark_nudged(manager.pending_nudges())
    manager.claim_job("w")
    clock.turn(hours=5)
    assert due(manager) == []


def test_a_nudged_job_is_claimed_while_its_nudge_is_being_marked(manager, database_url):
    job_id = manager.submit_job("training", {})
    with ThreadPoolExecutor() as threads:
        with open_database(database_url).begin() as connection:
            mark_nudged(connection, manager.pending_nudges())
            claim = threads.submit(manager.claim_job, "w", job_id=job_id)
            with pytest.raises(TimeoutError):
                claim.result(0.3)
        assert claim.result(30).job_id == job_id


def test_a_job_that_came_back_is_nudged_at_its_time(manager, clock):
    job_id = manager.submit_job("training", {})
    manager.mark_nudged(manager.pending_nudges())
    manager.claim_job("w")
    manager.mark_failed(job_id, "boom")
    assert due(manager) == []
    clock.turn(seconds=10)
    assert due(manager) == [job_id]


def test_a_late_mark_does_not_silence_a_job_that_came_back(manager, clock):
    job_id = manager.submit_job("training", {})
    stale = manager.pending_nudges()
    clock.turn(seconds=1)
    manager.claim_job("w")
    manager.release(job_id)
    manager.mark_nudged(stale)
    assert due(manager) == [job_id]


def test_a_job_for_later_is_nudged_later(manager, clock):
    job_id = manager.submit_job("training", {}, run_after=clock.now + timedelta(hours=1))
    assert due(manager) == []
    clock.turn(hours=1)
    assert due(manager) == [job_id]
