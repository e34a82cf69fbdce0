from __future__ import annotations

import pytest

from utils.training.job_queue import InvalidJobError, JobStatus


def submit(manager, *after, **options):
    return manager.submit_job("training", {}, after=after, **options)


def status(manager, job_id):
    return str(manager.get_job(job_id).status)


def complete(manager, job_id):
    manager.claim_job("w", job_id=job_id)
    manager.mark_completed(job_id)


def test_a_job_waits_until_all_it_depends_on_are_completed(manager):
    first, second = submit(manager), submit(manager)
    last = submit(manager, first, second, priority=9)
    assert manager.get_job(last).unmet_dependencies == 2
    assert manager.claim_job("w").job_id == first
    assert manager.claim_job("w").job_id == second
    assert manager.claim_job("w") is None
    assert manager.claim_job("w", job_id=last) is None
    manager.mark_completed(first)
    assert manager.claim_job("w") is None
    assert [nudge.job_id for nudge in manager.pending_nudges()] == []
    manager.mark_completed(second)
    assert [nudge.job_id for nudge in manager.pending_nudges()] == [last]
    assert manager.claim_job("w").job_id == last


def test_a_failure_cancels_all_that_waits_down_the_line(manager):
    root, other = submit(manager), submit(manager)
    child = submit(manager, root)
    both = submit(manager, root, other)
    grandchild = submit(manager, child, both)
    manager.claim_job("w", job_id=root)
    manager.mark_failed(root, "boom", retryable=False)
    assert [status(manager, n) for n in (child, both, grandchild)] == ["cancelled"] * 3
    assert status(manager, other) == "pending"
    assert manager.get_job(child).status_reason == (f"Job {root}, which it waited for, is failed.")
    assert manager.get_job(grandchild).status_reason == (
        f"Job {child}, which it waited for, is cancelled."
    )
    assert manager.get_job(grandchild).finished_at is not None


def test_a_failed_attempt_with_another_to_come_cancels_nothing(manager):
    root = submit(manager)
    child = submit(manager, root)
    manager.claim_job("w")
    manager.mark_failed(root, "boom")
    assert status(manager, child) == "pending"


def test_a_cancelled_job_cancels_its_dependents_when_it_has_stopped(manager):
    root = submit(manager)
    child = submit(manager, root)
    manager.claim_job("w")
    manager.cancel(root)
    assert status(manager, child) == "pending"
    manager.mark_cancelled(root)
    assert status(manager, child) == "cancelled"


def test_what_has_ended_before_the_submission_counts(manager):
    done, failed = submit(manager), submit(manager)
    complete(manager, done)
    manager.cancel(failed)
    assert manager.get_job(submit(manager, done, done)).unmet_dependencies == 0
    late = submit(manager, done, failed)
    assert status(manager, late) == "cancelled"
    assert [str(event.to_status) for event in manager.events(late)] == ["pending", "cancelled"]


def test_a_job_that_is_not_there_can_t_be_waited_for(manager):
    with pytest.raises(InvalidJobError, match="after names 77, and there is no such job"):
        submit(manager, submit(manager), 77)
    assert len(manager.list_jobs().items) == 1


def test_a_deleted_dependency_leaves_no_trace(manager, clock):
    done = submit(manager)
    child = submit(manager, done)
    complete(manager, done)
    clock.turn(days=1)
    manager.delete_finished(clock.now)
    assert manager.claim_job("w").job_id == child
    assert manager.get_job(child).status is JobStatus.CLAIMED
