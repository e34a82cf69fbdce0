"""Jobs and claims over HTTP."""

import pytest

from utils.service.contracts.jobs import Progress
from utils.service.http import RemoteError
from utils.service.logs import tracing
from utils.training.job_queue import JobStatus


def refused(status):
    return pytest.raises(RemoteError, check=lambda error: error.status == status)


def test_a_submitted_job_has_its_config_its_trace_and_its_submitter(web, config, parts):
    with tracing("a" * 32):
        job = web.submitter.submit("training", config, priority=3, reason="a first model")
    assert job.status is JobStatus.PENDING
    assert (job.model_name, job.priority, job.reason) == ("digits", 3, "a first model")
    assert job.config["gate"]["promote"] is True
    assert job.trace_id == "a" * 32
    assert web.reader.get_job(job.job_id) == job
    assert parts.manager.events(job.job_id)[0].actor == "the submitter"


def test_a_config_that_does_not_fit_its_type_is_refused_with_every_fault(web, config):
    wrong = config | {"model_name": "no spaces", "data": [], "colour": "red"}
    with refused(422) as caught:
        web.submitter.submit("training", wrong)
    for field in ("config.model_name", "config.data", "config.colour"):
        assert field in str(caught.value)
    assert web.reader.list_jobs().items == ()


def test_a_key_submits_once_for_each_caller(web, config):
    first = web.submitter.submit("training", config, idempotency_key="k1")
    assert web.submitter.submit("training", config, idempotency_key="k1").job_id == first.job_id
    assert web.admin.submit("training", config, idempotency_key="k1").job_id != first.job_id
    with refused(422) as caught:
        web.submitter.submit("training", config, priority=9, idempotency_key="k1")
    assert "idempotency key" in str(caught.value)


def test_jobs_are_listed_page_by_page_and_by_what_they_are(web, config):
    jobs = [web.submitter.submit("training", config).job_id for _ in range(3)]
    other = web.submitter.submit("training", config | {"model_name": "other"}).job_id
    page = web.reader.list_jobs(limit=3)
    rest = web.reader.list_jobs(limit=3, cursor=page.next_cursor)
    assert [job.job_id for job in (*page.items, *rest.items)] == [other, *reversed(jobs)]
    assert rest.next_cursor is None
    assert [job.job_id for job in web.reader.list_jobs(model_name="other").items] == [other]
    assert web.reader.list_jobs(status="running").items == ()
    with refused(422):
        web.reader.list_jobs(status="asleep")


def test_a_job_waits_for_those_before_it(web, config):
    first = web.submitter.submit("training", config)
    second = web.submitter.submit("training", config, after=[first.job_id])
    assert web.trainer.claim("w", job_id=second.job_id) is None
    held = web.trainer.claim("w")
    web.trainer.finish(held.job_id, held.fencing_token, "completed")
    assert web.trainer.claim("w").job_id == second.job_id
    with refused(422):
        web.submitter.submit("training", config, after=[10_000])


def test_a_trainer_takes_a_job_from_claim_to_end(web, config):
    submitted = web.submitter.submit("training", config)
    job = web.trainer.claim("worker 1", job_id=submitted.job_id)
    assert job.status is JobStatus.CLAIMED
    assert web.trainer.start(job.job_id, job.fencing_token).status is JobStatus.RUNNING
    beat = web.trainer.heartbeat(job.job_id, job.fencing_token, Progress(step=7, total_steps=9))
    assert beat.cancel_requested is False
    assert web.reader.get_job(job.job_id).progress["step"] == 7
    done = web.trainer.finish(job.job_id, job.fencing_token, "completed", result={"model_id": 1})
    assert done.status is JobStatus.COMPLETED
    assert done.result == {"model_id": 1}
    assert web.trainer.claim("worker 1") is None


def test_a_loss_that_is_no_number_any_more_is_reported_as_none(web, config):
    job = web.trainer.claim("w", job_id=web.submitter.submit("training", config).job_id)
    web.trainer.heartbeat(job.job_id, job.fencing_token, Progress(step=3, loss=float("nan")))
    assert web.reader.get_job(job.job_id).progress["loss"] is None
    result = {"metrics": {"loss": float("inf"), "accuracy": 0.1}}
    done = web.trainer.finish(job.job_id, job.fencing_token, "completed", result=result)
    assert done.result == {"metrics": {"loss": None, "accuracy": 0.1}}


def test_a_claim_whose_answer_was_lost_is_answered_again(web, config):
    job = web.submitter.submit("training", config)
    held = web.trainer.claim("worker 1", job_id=job.job_id)
    assert web.trainer.claim("worker 1", job_id=job.job_id) == held
    assert web.trainer.claim("worker 2", job_id=job.job_id) is None
    web.trainer.start(held.job_id, held.fencing_token)
    assert web.trainer.claim("worker 1", job_id=job.job_id) is None


def test_every_write_of_a_stale_claim_is_refused(web, config):
    job = web.trainer.claim("w1", job_id=web.submitter.submit("training", config).job_id)
    web.trainer.release(job.job_id, job.fencing_token, "The node is drained.")
    newer = web.trainer.claim("w2", job_id=job.job_id)
    assert newer.fencing_token > job.fencing_token
    for write in (
        lambda: web.trainer.start(job.job_id, job.fencing_token),
        lambda: web.trainer.heartbeat(job.job_id, job.fencing_token),
        lambda: web.trainer.finish(job.job_id, job.fencing_token, "completed"),
        lambda: web.trainer.release(job.job_id, job.fencing_token, "again"),
        lambda: web.trainer.append_log(job.job_id, job.fencing_token, "a zombie's line"),
    ):
        with refused(409):
            write()
    assert web.reader.read_log(job.job_id).content == b""
    assert web.reader.get_job(job.job_id).worker_id == "w2"


def test_a_failed_attempt_is_tried_again_unless_that_is_useless(web, config):
    job = web.trainer.claim("w", job_id=web.submitter.submit("training", config).job_id)
    again = web.trainer.finish(job.job_id, job.fencing_token, "failed", error="out of memory")
    assert (again.status, again.attempt, again.error) == (JobStatus.PENDING, 2, "out of memory")
    other = web.trainer.claim("w", job_id=web.submitter.submit("training", config).job_id)
    failed = web.trainer.finish(other.job_id, other.fencing_token, "failed", retryable=False)
    assert failed.status is JobStatus.FAILED
    assert failed.error == "The trainer gave no reason."


def test_a_cancel_reaches_the_trainer_with_its_next_heartbeat(web, config):
    waiting = web.submitter.submit("training", config)
    assert web.submitter.cancel(waiting.job_id).status is JobStatus.CANCELLED
    job = web.trainer.claim("w", job_id=web.submitter.submit("training", config).job_id)
    asked = web.submitter.cancel(job.job_id, "no longer needed")
    assert asked.status is JobStatus.CANCELLING
    assert web.trainer.heartbeat(job.job_id, job.fencing_token).cancel_requested
    ended = web.trainer.finish(job.job_id, job.fencing_token, "cancelled", error="Stopped.")
    assert ended.status is JobStatus.CANCELLED
    finished = web.trainer.claim("w", job_id=web.submitter.submit("training", config).job_id)
    web.trainer.finish(finished.job_id, finished.fencing_token, "completed")
    with refused(409):
        web.submitter.cancel(finished.job_id)


def test_a_job_that_is_not_there_is_404(web):
    for call in (
        lambda: web.reader.get_job(1),
        lambda: web.submitter.cancel(1),
        lambda: web.reader.history(1),
        lambda: web.reader.read_log(1),
        lambda: list(web.reader.events(1)),
        lambda: web.trainer.start(1, 1),
    ):
        with refused(404):
            call()
