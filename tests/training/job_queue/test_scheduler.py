from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from utils.training.database import open_database
from utils.training.job_queue import (
    InvalidCronError,
    InvalidJobError,
    InvalidScheduleError,
    JobStatus,
    TrainingScheduler,
    UnknownScheduleError,
)
from utils.training.job_queue.tables import schedule as schedule_table


def create(scheduler, schedule_expr="0 2 * * *", **options):
    values = {"name": "nightly", "job_type": "training", "config": {"epochs": 3}} | options
    return scheduler.create_schedule(schedule_expr=schedule_expr, **values)


def at(day, hour, minute=0):
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_a_schedule_comes_back_as_it_was_created(scheduler, clock):
    schedule_id = create(
        scheduler,
        priority=3,
        timezone="Europe/Berlin",
        misfire="all",
        max_catch_up=2,
        overlap="queue",
        model_name="digits",
        resources={"gpus": 1},
    )
    schedule = scheduler.get_schedule(schedule_id)
    assert (schedule.name, schedule.job_type, schedule.priority) == ("nightly", "training", 3)
    assert (schedule.misfire, schedule.max_catch_up, schedule.overlap) == ("all", 2, "queue")
    assert schedule.next_run_at == at(3, 1)  # two o'clock in Berlin's winter
    assert (schedule.enabled, schedule.last_run_at, schedule.num_missed) == (True, None, 0)
    assert scheduler.get_schedule(99) is None


def test_a_job_is_submitted_when_its_time_comes(scheduler, manager, clock):
    schedule_id = create(scheduler, priority=3, model_name="digits", resources={"gpus": 1})
    assert scheduler.tick() == ()
    clock.now = at(3, 2)
    (job_id,) = scheduler.tick()
    assert scheduler.tick() == ()
    job = manager.get_job(job_id)
    assert (job.job_type, job.config, job.priority) == ("training", {"epochs": 3}, 3)
    assert (job.schedule_id, job.model_name, job.resources) == (schedule_id, "digits", {"gpus": 1})
    assert job.reason == "Schedule 'nightly' was due at 2026-03-03T02:00:00Z."
    schedule = scheduler.get_schedule(schedule_id)
    assert (schedule.last_run_at, schedule.next_run_at) == (at(3, 2), at(4, 2))
    (occurrence,) = scheduler.history(schedule_id)
    assert (occurrence.occurrence, occurrence.job_id) == (at(3, 2), job_id)
    assert [found.job_id for found in manager.list_jobs(schedule_id=schedule_id).items] == [job_id]


def test_the_time_can_be_given(scheduler):
    create(scheduler)
    assert scheduler.tick(now=at(3, 1, 59)) == ()
    assert len(scheduler.tick(now=datetime(2026, 3, 3, 2))) == 1  # noqa: DTZ001 - naive is UTC


@pytest.mark.parametrize(
    ("misfire", "ran", "missed"),
    [
        ("skip", [], 5),
        ("once", [at(7, 2)], 4),
        ("all", [at(5, 2), at(6, 2), at(7, 2)], 2),
    ],
)
def test_times_that_were_missed_follow_the_schedule_s_rule(
    scheduler, clock, caplog, misfire, ran, missed
):
    schedule_id = create(scheduler, misfire=misfire, max_catch_up=3, overlap="queue")
    clock.now = at(7, 12)
    assert len(scheduler.tick()) == len(ran)
    assert [row.occurrence for row in scheduler.history(schedule_id)] == ran[::-1]
    schedule = scheduler.get_schedule(schedule_id)
    assert (schedule.num_missed, schedule.next_run_at) == (missed, at(8, 2))
    assert f"'nightly' missed {missed} of its times" in caplog.text


@pytest.mark.parametrize(("misfire", "count"), [("skip", 1), ("once", 1), ("all", 3)])
def test_a_time_that_is_only_a_little_late_runs(scheduler, clock, misfire, count):
    schedule_id = create(scheduler, misfire=misfire, overlap="queue")
    clock.now = at(5, 2, 5)
    scheduler.tick()
    history = scheduler.history(schedule_id)
    assert len(history) == count
    assert history[0].occurrence == at(5, 2)


def test_forbid_drops_a_time_while_an_earlier_job_is_unfinished(scheduler, manager, clock):
    schedule_id = create(scheduler)
    clock.now = at(3, 2)
    (first,) = scheduler.tick()
    manager.claim_job("w")
    clock.now = at(4, 2)
    assert scheduler.tick() == ()
    assert scheduler.history(schedule_id)[0].note == f"Job {first} was not finished."
    manager.mark_completed(first)
    clock.now = at(5, 2)
    assert len(scheduler.tick()) == 1


def test_queue_runs_one_job_after_another_however_the_earlier_ends(scheduler, manager, clock):
    create(scheduler, overlap="queue")
    jobs = []
    for day in (3, 4, 5):
        clock.now = at(day, 2)
        jobs += scheduler.tick()
    first, second, third = jobs
    assert manager.claim_job("w").job_id == first
    assert manager.claim_job("w") is None
    manager.cancel(second)
    assert manager.claim_job("w") is None
    manager.mark_failed(first, "boom", retryable=False)
    assert manager.claim_job("w").job_id == third


def test_replace_cancels_the_earlier_job_and_waits_until_it_has_stopped(scheduler, manager, clock):
    create(scheduler, overlap="replace")
    jobs = []
    for day in (3, 4, 5):
        clock.now = at(day, 2)
        jobs += scheduler.tick()
        if day == 3:
            running = manager.claim_job("w")
    first, second, third = jobs
    assert manager.heartbeat(first, running.fencing_token).cancel_requested
    assert manager.get_job(second).status is JobStatus.CANCELLED
    assert manager.get_job(second).status_reason == "Schedule 'nightly' has a newer job."
    assert manager.claim_job("w") is None
    manager.mark_cancelled(first, running.fencing_token)
    assert manager.claim_job("w").job_id == third


def test_a_paused_schedule_rests_and_goes_on_from_now(scheduler, clock):
    schedule_id = create(scheduler, misfire="all")
    scheduler.pause(schedule_id)
    clock.now = at(6, 12)
    assert scheduler.tick() == ()
    scheduler.resume(schedule_id)
    scheduler.resume(schedule_id)
    assert scheduler.tick() == ()
    assert scheduler.get_schedule(schedule_id).next_run_at == at(7, 2)
    assert scheduler.get_schedule(schedule_id).num_missed == 0


def test_a_schedule_can_be_created_paused(scheduler, clock):
    schedule_id = create(scheduler, enabled=False)
    clock.now = at(3, 2)
    assert scheduler.tick() == ()
    assert not scheduler.get_schedule(schedule_id).enabled


def test_deleting_a_schedule_keeps_its_jobs(scheduler, manager, clock):
    schedule_id = create(scheduler)
    clock.now = at(3, 2)
    (job_id,) = scheduler.tick()
    scheduler.delete(schedule_id)
    assert scheduler.get_schedule(schedule_id) is None
    assert scheduler.history(schedule_id) == ()
    assert manager.get_job(job_id).schedule_id is None
    clock.now = at(4, 2)
    assert scheduler.tick() == ()


def test_an_unknown_schedule_is_an_error_to_change(scheduler):
    for change in (scheduler.pause, scheduler.resume, scheduler.delete, scheduler.preview):
        with pytest.raises(UnknownScheduleError, match="no schedule 99"):
            change(99)


def test_schedules_are_listed_a_page_at_a_time(scheduler):
    ids = [create(scheduler, name=f"s{n}", enabled=n != 1) for n in range(3)]
    first = scheduler.list_schedules(limit=2)
    second = scheduler.list_schedules(limit=2, cursor=first.next_cursor)
    assert [found.schedule_id for found in first.items + second.items] == ids
    assert second.next_cursor is None
    enabled = scheduler.list_schedules(enabled=True)
    assert [found.schedule_id for found in enabled.items] == [ids[0], ids[2]]
    assert [found.schedule_id for found in scheduler.list_schedules(name="s1").items] == [ids[1]]
    assert scheduler.list_schedules(name="s3").items == ()


def test_the_same_schedule_again_is_the_one_that_is_there(scheduler):
    first = create(scheduler, misfire_grace_seconds=60)
    assert create(scheduler, misfire_grace_seconds=60) == first
    with pytest.raises(InvalidScheduleError, match=rf"'nightly' \(id {first}\)"):
        create(scheduler, "0 3 * * *")


def test_the_next_times_can_be_previewed(scheduler, clock):
    assert scheduler.preview("0 2 * * *", 2) == [at(3, 2), at(4, 2)]
    schedule_id = create(scheduler, timezone="America/New_York")
    assert scheduler.preview(schedule_id, n=1) == [at(3, 7)]
    assert scheduler.preview(schedule_id, n=1, timezone="UTC") == [at(3, 2)]
    march = datetime(2026, 3, 28, tzinfo=UTC)
    assert scheduler.preview("30 2 * * *", 2, "Europe/Berlin", march) == [
        datetime(2026, 3, 28, 1, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    ]


def test_a_fault_is_named_when_the_schedule_is_created(scheduler):
    with pytest.raises(InvalidCronError, match="hour field"):
        create(scheduler, "0 25 * * *")
    with pytest.raises(InvalidScheduleError, match=r"'Europe/Berln'.*Did you mean: Europe/Berlin"):
        create(scheduler, timezone="Europe/Berln")
    with pytest.raises(InvalidScheduleError, match="time zone can't be ''"):
        create(scheduler, timezone="")
    with pytest.raises(InvalidScheduleError) as raised:
        create(
            scheduler,
            name="",
            misfire="never",
            overlap="allow",
            max_catch_up=0,
            misfire_grace_seconds=-1,
        )
    for name in ("name", "misfire", "overlap", "max_catch_up", "misfire_grace_seconds"):
        assert name in str(raised.value)
    with pytest.raises(InvalidJobError, match="max_attempts"):
        create(scheduler, max_attempts=0)
    assert scheduler.list_schedules().items == ()


def test_one_schedule_that_can_t_be_kept_holds_up_no_other(scheduler, database_url, clock, caplog):
    broken = create(scheduler, name="broken")
    create(scheduler, name="whole")
    with open_database(database_url).begin() as connection:
        connection.execute(
            update(schedule_table)
            .where(schedule_table.c.id == broken)
            .values(timezone="Mars/Olympus")
        )
    clock.now = at(3, 2)
    assert len(scheduler.tick()) == 1
    assert f"Schedule {broken} could not run" in caplog.text


def test_a_tick_that_dies_half_way_leaves_nothing_behind(scheduler, manager, clock, monkeypatch):
    schedule_id = create(scheduler)
    clock.now = at(3, 2)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingScheduler, "_advance", lambda *_: 1 / 0)
        assert scheduler.tick() == ()
    assert manager.list_jobs().items == ()
    assert scheduler.history(schedule_id) == ()
    assert len(scheduler.tick()) == 1


def test_a_time_that_was_decided_is_never_decided_again(scheduler, database_url, clock):
    schedule_id = create(scheduler)
    clock.now = at(3, 2)
    scheduler.tick()
    with open_database(database_url).begin() as connection:
        connection.execute(update(schedule_table).values(next_run_at=at(3, 2)))
    assert scheduler.tick() == ()
    assert len(scheduler.history(schedule_id)) == 1
    assert scheduler.get_schedule(schedule_id).next_run_at == at(4, 2)


def test_the_database_s_clock_is_used_unless_told_otherwise(database_url):
    scheduler = TrainingScheduler(database_url)
    schedule_id = create(scheduler, "* * * * *")
    ahead = scheduler.get_schedule(schedule_id).next_run_at - datetime.now(UTC)
    assert timedelta(seconds=-5) < ahead <= timedelta(minutes=1)
    assert scheduler.tick(datetime.now(UTC) - timedelta(hours=1)) == ()
