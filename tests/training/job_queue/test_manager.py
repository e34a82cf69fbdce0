from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from utils.training.database import open_database
from utils.training.errors import TrainingError
from utils.training.job_queue import (
    IdempotencyConflictError,
    IllegalTransitionError,
    InvalidJobError,
    JobManager,
    JobStatus,
    StaleClaimError,
    UnknownJobError,
    fence,
)


def claimed(manager, **options):
    manager.submit_job("training", {"epochs": 3}, **options)
    return manager.claim_job("worker-1")


def path(manager, job_id):
    return [str(event.to_status) for event in manager.events(job_id)]


def test_a_job_comes_back_as_it_was_submitted(manager, clock):
    config = {"training_config": {"learning_rate": 3e-4, "layers": [1, None, {"é": True}]}}
    job_id = manager.submit_job(
        "training",
        config,
        7,
        model_name="digits",
        trace_id="abc",
        reason="drift of 0.3 on 'width'",
        resources={"gpus": 1},
        actor="monitor",
    )
    job = manager.get_job(job_id)
    assert (job.job_id, job.job_type, job.priority) == (job_id, "training", 7)
    assert job.config == config
    assert (job.model_name, job.trace_id, job.reason) == (
        "digits",
        "abc",
        "drift of 0.3 on 'width'",
    )
    assert job.resources == {"gpus": 1}
    assert (job.status, job.attempt, job.max_attempts) == (JobStatus.PENDING, 1, 3)
    assert job.submitted_at == job.run_after == job.status_since == clock.now
    assert not job.is_finished


def test_a_trace_id_is_made_up_where_none_is_given(manager):
    first, second = (manager.submit_job("training", {}) for _ in range(2))
    assert manager.get_job(first).trace_id != manager.get_job(second).trace_id


def test_values_are_frozen(manager):
    job = claimed(manager)
    with pytest.raises(AttributeError):
        job.status = JobStatus.COMPLETED


def test_higher_priority_runs_first_and_equal_priority_in_order(manager):
    priorities = [0, 5, -3, 5, 0, 9]
    ids = [manager.submit_job("training", {}, priority) for priority in priorities]
    order = [manager.claim_job("worker-1").job_id for _ in ids]
    assert order == [ids[5], ids[1], ids[3], ids[0], ids[4], ids[2]]
    assert manager.claim_job("worker-1") is None


def test_a_claim_is_leased_to_its_worker(manager, clock):
    job = claimed(manager)
    assert (job.status, job.worker_id, job.fencing_token) == (JobStatus.CLAIMED, "worker-1", 1)
    assert job.lease_expires_at == clock.now + timedelta(seconds=60)


def test_a_worker_claims_only_its_types_best_first(manager):
    slow = manager.submit_job("training", {}, 9)
    export = manager.submit_job("export", {}, 1)
    evaluation = manager.submit_job("evaluation", {}, 2)
    assert manager.claim_job("w", ["export", "evaluation"]).job_id == evaluation
    assert manager.claim_job("w", ["export", "evaluation"]).job_id == export
    assert manager.claim_job("w", ["export", "evaluation"]) is None
    assert manager.claim_job("w", "export") is None
    assert manager.claim_job("w", ()) is None
    assert manager.claim_job("w", "training").job_id == slow


def test_a_nudge_s_job_is_claimed_by_its_id(manager):
    manager.submit_job("training", {}, 9)
    second = manager.submit_job("training", {})
    assert manager.claim_job("w", job_id=second).job_id == second
    assert manager.claim_job("w", job_id=second) is None
    assert manager.claim_job("w", job_id=10**6) is None


def test_a_job_is_not_claimed_before_its_time(manager, clock):
    later = manager.submit_job("training", {}, 9, run_after=clock.now + timedelta(minutes=5))
    soon = manager.submit_job("training", {})
    assert manager.claim_job("w").job_id == soon
    assert manager.claim_job("w") is None
    assert manager.claim_job("w", "training") is None
    assert manager.claim_job("w", job_id=later) is None
    clock.turn(minutes=5)
    assert manager.claim_job("w").job_id == later


def test_a_naive_time_is_utc(manager):
    job_id = manager.submit_job("training", {}, run_after=datetime(2030, 1, 1, 8))  # noqa: DTZ001 - the case
    assert manager.get_job(job_id).run_after == datetime(2030, 1, 1, 8, tzinfo=UTC)


def test_the_whole_way_of_a_job_is_recorded(manager, clock):
    job_id = manager.submit_job("training", {}, reason="first model", actor="ann")
    job = manager.claim_job("worker-1")
    clock.turn(seconds=1)
    started = manager.mark_running(job.job_id, job.fencing_token)
    clock.turn(seconds=9)
    done = manager.mark_completed(job.job_id, job.fencing_token, {"val_loss": 0.3})
    assert started.started_at == clock.now - timedelta(seconds=9)
    assert (done.status, done.finished_at) == (JobStatus.COMPLETED, clock.now)
    assert done.result == {"val_loss": 0.3}
    assert done.is_finished
    assert done.lease_expires_at is None
    events = manager.events(job_id)
    assert [(event.from_status, event.to_status, event.actor) for event in events] == [
        (None, JobStatus.PENDING, "ann"),
        (JobStatus.PENDING, JobStatus.CLAIMED, "worker-1"),
        (JobStatus.CLAIMED, JobStatus.RUNNING, "worker-1"),
        (JobStatus.RUNNING, JobStatus.COMPLETED, "worker-1"),
    ]
    assert events[0].reason == "first model"
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert manager.events(job_id, after=events[1].event_id) == events[2:]


def test_the_current_holder_completes_without_a_token(manager):
    job = claimed(manager)
    assert manager.mark_completed(job.job_id).status is JobStatus.COMPLETED
    with pytest.raises(IllegalTransitionError, match="is completed"):
        manager.mark_completed(job.job_id)


def test_the_holder_may_repeat_itself_after_a_lost_reply(manager):
    job = claimed(manager)
    manager.mark_running(job.job_id, job.fencing_token)
    manager.mark_running(job.job_id, job.fencing_token)
    first = manager.mark_completed(job.job_id, job.fencing_token, {"a": 1})
    assert manager.mark_completed(job.job_id, job.fencing_token, {"a": 2}) == first
    assert path(manager, job.job_id) == ["pending", "claimed", "running", "completed"]


def test_a_heartbeat_renews_the_lease_and_reports_progress(manager, clock):
    job = claimed(manager)
    clock.turn(seconds=30)
    beat = manager.heartbeat(job.job_id, job.fencing_token, {"step": 10, "loss": float("inf")}, 90)
    assert not beat.cancel_requested
    assert beat.lease_expires_at == clock.now + timedelta(seconds=90)
    manager.heartbeat(job.job_id, job.fencing_token)
    read = manager.get_job(job.job_id)
    assert read.progress == {"step": 10, "loss": float("inf")}
    assert read.heartbeat_at == clock.now


def test_a_failed_attempt_waits_longer_each_time_and_then_the_job_has_failed(manager, clock):
    job_id = manager.submit_job("training", {}, max_attempts=3)
    waits = []
    for attempt in (1, 2):
        job = manager.claim_job("w")
        assert job.attempt == attempt
        failed = manager.mark_failed(job_id, f"boom {attempt}", job.fencing_token)
        assert (failed.status, failed.attempt) == (JobStatus.PENDING, attempt + 1)
        assert manager.claim_job("w") is None
        waits.append((failed.run_after - clock.now).total_seconds())
        clock.turn(seconds=waits[-1])
    assert waits == [10, 20]
    last = manager.mark_failed(job_id, "boom 3", manager.claim_job("w").fencing_token)
    assert (last.status, last.error, last.attempt) == (JobStatus.FAILED, "boom 3", 3)
    assert last.finished_at == clock.now


def test_a_failure_that_no_retry_can_mend_is_final_at_once(manager):
    job = claimed(manager)
    failed = manager.mark_failed(job.job_id, "no such data set", retryable=False)
    assert (failed.status, failed.attempt) == (JobStatus.FAILED, 1)


def test_success_after_a_failure_leaves_the_failure_in_the_history_only(manager, clock):
    job = claimed(manager)
    manager.mark_failed(job.job_id, "boom")
    clock.turn(minutes=1)
    manager.claim_job("w")
    assert manager.mark_completed(job.job_id).error is None
    assert "boom" in [event.reason for event in manager.events(job.job_id)]


def test_a_released_job_costs_no_attempt_and_is_there_at_once(manager):
    job = claimed(manager)
    manager.mark_running(job.job_id, job.fencing_token)
    released = manager.release(job.job_id, job.fencing_token, "the node is drained")
    assert (released.status, released.attempt) == (JobStatus.PENDING, 1)
    assert released.status_reason == "the node is drained"
    assert released.worker_id is None
    again = manager.claim_job("w2")
    assert (again.job_id, again.attempt, again.fencing_token) == (job.job_id, 1, 2)


def test_a_stale_token_is_refused_everywhere(manager):
    job = claimed(manager)
    manager.release(job.job_id, job.fencing_token)
    manager.claim_job("worker-2")
    stale = (job.job_id, job.fencing_token)
    for write in (
        lambda: manager.heartbeat(*stale),
        lambda: manager.mark_running(*stale),
        lambda: manager.mark_completed(*stale),
        lambda: manager.mark_failed(job.job_id, "boom", job.fencing_token),
        lambda: manager.mark_cancelled(*stale),
        lambda: manager.release(*stale),
        lambda: manager.check_fence(*stale),
    ):
        with pytest.raises(
            StaleClaimError, match=r"token 1: it is claimed, and its last .* token 2"
        ):
            write()
    manager.check_fence(job.job_id, 2)


def test_a_token_of_a_job_that_went_back_is_stale(manager):
    job = claimed(manager)
    manager.release(job.job_id, job.fencing_token)
    with pytest.raises(StaleClaimError):
        manager.mark_completed(job.job_id, job.fencing_token)


def test_a_fence_guards_the_write_of_another_store(manager, database_url):
    job = claimed(manager)
    engine = open_database(database_url)
    with engine.begin() as connection:
        fence(job.job_id, job.fencing_token)(connection)
    manager.release(job.job_id)
    with pytest.raises(StaleClaimError), engine.begin() as connection:
        fence(job.job_id, job.fencing_token)(connection)
    with pytest.raises(UnknownJobError), engine.begin() as connection:
        fence(99, 1)(connection)


def test_a_pending_job_is_cancelled_at_once(manager):
    job_id = manager.submit_job("training", {})
    cancelled = manager.cancel(job_id, "not needed", actor="ann")
    assert (cancelled.status, cancelled.status_reason) == (JobStatus.CANCELLED, "not needed")
    assert cancelled.finished_at is not None
    assert manager.events(job_id)[-1].actor == "ann"
    assert manager.claim_job("w") is None
    assert manager.cancel(job_id).status_reason == "not needed"


def test_a_held_job_is_asked_to_stop(manager):
    job = claimed(manager)
    manager.mark_running(job.job_id, job.fencing_token)
    asked = manager.cancel(job.job_id, "superseded")
    assert asked.cancel_requested
    assert manager.cancel(job.job_id).status_reason == "superseded"
    assert manager.heartbeat(job.job_id, job.fencing_token).cancel_requested
    assert manager.mark_running(job.job_id, job.fencing_token).cancel_requested
    stopped = manager.mark_cancelled(job.job_id, job.fencing_token, "stopped at step 12")
    assert stopped.status is JobStatus.CANCELLED
    assert path(manager, job.job_id) == ["pending", "claimed", "running", "cancelling", "cancelled"]


def test_work_that_was_done_before_the_cancel_was_seen_counts(manager):
    job = claimed(manager)
    manager.cancel(job.job_id)
    assert manager.mark_completed(job.job_id, job.fencing_token).status is JobStatus.COMPLETED


def test_a_job_that_fails_or_is_released_while_cancelling_is_cancelled(manager):
    first, second = claimed(manager), claimed(manager)
    for job in (first, second):
        manager.cancel(job.job_id, "superseded")
    failed = manager.mark_failed(first.job_id, "boom", first.fencing_token)
    assert (failed.status, failed.error) == (JobStatus.CANCELLED, "boom")
    assert failed.status_reason == "superseded"
    assert manager.release(second.job_id, second.fencing_token).status is JobStatus.CANCELLED


def test_what_a_status_does_not_allow_is_refused(manager):
    job_id = manager.submit_job("training", {})
    for write in (
        lambda: manager.mark_running(job_id),
        lambda: manager.mark_completed(job_id),
        lambda: manager.mark_failed(job_id, "boom"),
        lambda: manager.mark_cancelled(job_id),
        lambda: manager.release(job_id),
    ):
        with pytest.raises(
            IllegalTransitionError, match=f"Job {job_id} can't be .*: it is pending"
        ):
            write()
    manager.claim_job("w")
    with pytest.raises(IllegalTransitionError, match="it is claimed"):
        manager.mark_cancelled(job_id)
    manager.mark_completed(job_id)
    with pytest.raises(IllegalTransitionError, match="can't be cancelled: it is completed"):
        manager.cancel(job_id)


def test_an_unknown_job_is_none_to_read_and_an_error_to_write(manager):
    assert manager.get_job(99) is None
    assert manager.events(99) == ()
    for write in (
        lambda: manager.heartbeat(99, 1),
        lambda: manager.mark_completed(99),
        lambda: manager.mark_failed(99, "boom"),
        lambda: manager.cancel(99),
        lambda: manager.check_fence(99, 1),
    ):
        with pytest.raises(UnknownJobError, match="no job 99") as raised:
            write()
        assert isinstance(raised.value, TrainingError | LookupError)


def test_an_idempotency_key_submits_once(manager):
    first = manager.submit_job("training", {"a": 1, "b": 2}, idempotency_key="k")
    assert manager.submit_job("training", {"b": 2, "a": 1}, idempotency_key="k") == first
    assert len(manager.list_jobs().items) == 1
    with pytest.raises(IdempotencyConflictError, match=f"'k' belongs to job {first}"):
        manager.submit_job("training", {"a": 2}, idempotency_key="k")


def test_every_fault_of_a_submission_is_named_at_once(manager):
    with pytest.raises(InvalidJobError) as raised:
        manager.submit_job(
            "", {"bad": object()}, "high", max_attempts=0, model_name="x" * 300, resources={1j: 1}
        )
    for name in ("job_type", "config", "priority", "max_attempts", "model_name", "resources"):
        assert name in str(raised.value)
    with pytest.raises(InvalidJobError, match="given was a list"):
        manager.submit_job("training", [1])
    with pytest.raises(InvalidJobError, match="priority"):
        manager.submit_job("training", {}, 2**40)


def test_a_claim_s_faults_are_named(manager):
    with pytest.raises(ValueError, match="worker_id is ''"):
        manager.claim_job("")
    with pytest.raises(ValueError, match="lease_seconds is 0"):
        manager.claim_job("w", lease_seconds=0)


def test_jobs_are_listed_newest_first_a_page_at_a_time(manager):
    ids = [manager.submit_job("training", {}, model_name=f"m{n % 2}") for n in range(5)]
    manager.claim_job("w")
    first = manager.list_jobs(limit=2)
    second = manager.list_jobs(limit=2, cursor=first.next_cursor)
    third = manager.list_jobs(limit=2, cursor=second.next_cursor)
    pages = [job.job_id for page in (first, second, third) for job in page.items]
    assert pages == ids[::-1]
    assert third.next_cursor is None
    listed = manager.list_jobs(["claimed", JobStatus.RUNNING])
    assert [job.job_id for job in listed.items] == ids[:1]
    assert [job.job_id for job in manager.list_jobs("pending", model_name="m1").items] == [4, 2]
    trace_id = manager.get_job(ids[0]).trace_id
    assert len(manager.list_jobs(trace_id=trace_id, job_type="training").items) == 1
    with pytest.raises(ValueError, match=r"Unknown job status 'runing'.*Did you mean: running"):
        manager.list_jobs("runing")
    with pytest.raises(ValueError, match="limit is 0"):
        manager.list_jobs(limit=0)
    with pytest.raises(ValueError, match="cursor"):
        manager.list_jobs(cursor="x")


def test_the_statistics_show_depth_age_and_silence(manager, clock):
    assert manager.statistics().oldest_ready_seconds == 0
    claimed(manager)
    manager.submit_job("training", {}, run_after=clock.now + timedelta(hours=1))
    manager.submit_job("export", {})
    clock.turn(seconds=61)
    seen = manager.statistics()
    assert seen.counts[JobStatus.PENDING] == 2
    assert seen.counts[JobStatus.CLAIMED] == 1
    assert seen.counts[JobStatus.FAILED] == 0
    assert (seen.ready, seen.oldest_ready_seconds, seen.expired_leases) == (1, 61, 1)
    assert manager.statistics("export").counts[JobStatus.CLAIMED] == 0


def test_old_finished_jobs_can_be_deleted_with_their_history(manager, clock):
    old = claimed(manager)
    manager.mark_completed(old.job_id)
    clock.turn(days=30)
    new = claimed(manager)
    manager.mark_completed(new.job_id)
    assert manager.delete_finished(clock.now) == 1
    assert manager.get_job(old.job_id) is None
    assert manager.events(old.job_id) == ()
    assert manager.get_job(new.job_id) is not None


def test_the_database_s_clock_is_used_unless_told_otherwise(database_url):
    manager = JobManager(database_url)
    job_id = manager.submit_job("training", {})
    job = manager.claim_job("w", lease_seconds=45)
    assert job.job_id == job_id
    assert job.lease_expires_at - job.heartbeat_at == pytest.approx(
        timedelta(seconds=45), abs=timedelta(seconds=1)
    )
    assert abs(datetime.now(UTC) - job.submitted_at) < timedelta(minutes=1)
    assert manager.statistics().counts[JobStatus.CLAIMED] == 1


def test_neither_torch_nor_pandas_is_imported():
    code = "import sys, utils.training.job_queue; print({'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
