"""Schedules over HTTP."""

from datetime import UTC, timedelta
from itertools import pairwise

import pytest

from utils.service.contracts.jobs import ScheduleRequest
from utils.service.http import RemoteError


def refused(status):
    return pytest.raises(RemoteError, check=lambda error: error.status == status)


@pytest.fixture
def nightly(config):
    return ScheduleRequest(
        name="nightly",
        job_type="training",
        config=config,
        schedule_expr="30 2 * * *",
        timezone="Europe/Berlin",
    )


def test_a_schedule_is_made_once_listed_and_deleted(web, nightly):
    made = web.submitter.create_schedule(nightly)
    assert (made.name, made.model_name, made.enabled) == ("nightly", "digits", True)
    assert made.config["gate"]["promote"] is True
    assert web.submitter.create_schedule(nightly) == made
    assert web.reader.list_schedules().items == (made,)
    assert web.reader.list_schedules(name="nightly").items == (made,)
    assert web.reader.list_schedules(name="weekly").items == ()
    assert web.reader.get_schedule(made.schedule_id) == made
    web.submitter.delete_schedule(made.schedule_id)
    assert web.reader.list_schedules().items == ()


def test_a_preview_shows_the_next_times_in_utc(web, nightly):
    made = web.submitter.create_schedule(nightly)
    times = web.reader.preview_schedule(made.schedule_id, 3)
    assert times[0] == made.next_run_at
    assert all(time.tzinfo == UTC and time.minute == 30 for time in times)
    assert all(later - earlier <= timedelta(hours=25) for earlier, later in pairwise(times))


def test_a_paused_schedule_submits_nothing_until_it_is_resumed(web, nightly, parts):
    made = web.submitter.create_schedule(nightly)
    due = made.next_run_at + timedelta(seconds=1)
    assert web.submitter.pause_schedule(made.schedule_id).enabled is False
    assert parts.schedules.tick(due) == ()
    assert web.submitter.resume_schedule(made.schedule_id).enabled is True
    (job_id,) = parts.schedules.tick(due)
    assert web.reader.get_job(job_id).schedule_id == made.schedule_id
    assert [time.job_id for time in web.reader.schedule_history(made.schedule_id)] == [job_id]


def test_what_could_never_run_is_refused(web, nightly, config):
    for wrong in (
        {"schedule_expr": "61 * * * *"},
        {"timezone": "Europe/Atlantis"},
        {"config": config | {"data": []}},
    ):
        with refused(422):
            web.submitter.create_schedule(nightly.model_copy(update=wrong))
    assert web.reader.list_schedules().items == ()


def test_a_schedule_that_is_not_there_is_404(web):
    for call in (
        web.reader.get_schedule,
        web.reader.preview_schedule,
        web.reader.schedule_history,
        web.submitter.pause_schedule,
        web.submitter.resume_schedule,
        web.submitter.delete_schedule,
    ):
        with refused(404):
            call(1)
