from __future__ import annotations

from datetime import timedelta


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


def test_a_job_that_stays_unclaimed_is_nudged_again_ever_more_rarely(manager, clock):
    manager.submit_job("training", {})
    pauses = []
    for _ in range(9):
        manager.mark_nudged(manager.pending_nudges(), again_in_seconds=60)
        waited = 0
        while not due(manager):
            clock.turn(seconds=60)
            waited += 60
        pauses.append(waited)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3840, 3840, 3840]


def test_a_claimed_job_is_not_nudged(manager, clock):
    manager.submit_job("training", {})
    manager.mark_nudged(manager.pending_nudges())
    manager.claim_job("w")
    clock.turn(hours=5)
    assert due(manager) == []


def test_a_job_that_came_back_is_nudged_at_its_time(manager, clock):
    job_id = manager.submit_job("training", {})
    manager.mark_nudged(manager.pending_nudges())
    manager.claim_job("w")
    manager.mark_failed(job_id, "boom")
    assert due(manager) == []
    clock.turn(seconds=10)
    assert due(manager) == [job_id]
    assert manager.pending_nudges()[0].times_sent == 0


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
