"""Where a job's next attempt goes on."""

from utils.training.job_queue import JobManager
from utils.training.job_queue.checkpoints import CheckpointStore


def test_the_checkpoint_of_most_steps_is_kept(database_url):
    jobs = JobManager(database_url)
    with CheckpointStore(database_url) as checkpoints:
        job_id = jobs.submit_job("training", {})
        assert checkpoints.newest(job_id) is None
        checkpoints.save(job_id, "a" * 64, "checkpoint_epoch0001.pt", 10)
        checkpoints.save(job_id, "b" * 64, "checkpoint_epoch0002.pt", 20)
        checkpoints.save(job_id, "c" * 64, "checkpoint_epoch0000.pt", 5)
        newest = checkpoints.newest(job_id)
    assert (newest.digest, newest.step) == ("b" * 64, 20)
