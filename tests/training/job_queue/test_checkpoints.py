"""Where a job's next attempt goes on."""

import pytest

from utils.training.job_queue import JobManager
from utils.training.job_queue.checkpoints import CheckpointStore


@pytest.fixture
def checkpoints(database_url):
    with CheckpointStore(database_url) as store:
        yield store


@pytest.fixture
def job_id(database_url):
    return JobManager(database_url).submit_job("training", {})


def save(checkpoints, job_id, step, keep):
    digest = f"{step:064}"
    checkpoints.save(job_id, digest, f"checkpoint_step{step}.pt", step, keep=keep)
    return digest


def steps(checkpoints, job_id):
    return [checkpoint.step for checkpoint in checkpoints.of_job(job_id)]


@pytest.mark.parametrize("keep", [1, 2, 0])
def test_the_last_saved_is_the_newest_also_of_an_attempt_that_began_again(
    checkpoints, job_id, keep
):
    assert checkpoints.newest(job_id) is None
    save(checkpoints, job_id, 10, keep)
    save(checkpoints, job_id, 20, keep)
    newest = save(checkpoints, job_id, 5, keep)
    found = checkpoints.newest(job_id)
    assert (found.digest, found.step) == (newest, 5)


def test_so_many_stay_noted_as_are_to_be_kept(checkpoints, job_id, database_url):
    other = JobManager(database_url).submit_job("training", {})
    save(checkpoints, other, 1, keep=2)
    for step in (10, 20, 15, 30, 30, 25):
        save(checkpoints, job_id, step, keep=2)
    assert steps(checkpoints, job_id) == [25, 30]
    assert steps(checkpoints, other) == [1]
    save(checkpoints, job_id, 7, keep=0)
    assert steps(checkpoints, job_id) == [7, 25, 30]


def test_what_is_not_there_is_not_noted(checkpoints, job_id):
    def missing():
        raise LookupError("It is not in the store.")

    with pytest.raises(LookupError):
        checkpoints.save(job_id, "a" * 64, "checkpoint_epoch0001.pt", 1, keep=1, check=missing)
    assert checkpoints.of_job(job_id) == ()
