"""Jobs and claims over HTTP."""

from utils.service.contracts.jobs import Progress
from utils.training.job_queue import JobStatus


def test_a_submitted_job_has_its_config_its_trace_and_its_submitter(web, config, parts):
    job = web.submitter.submit("training", config, priority=3, reason="a first model")
    assert job.status is JobStatus.PENDING
    assert job.model_name == "digits"
    assert job.priority == 3
    assert job.config["gate"]["promote"] is True
    assert len(job.trace_id) == 32
    assert web.reader.get_job(job.job_id) == job
    assert parts.manager.events(job.job_id)[0].actor == "the submitter"


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
