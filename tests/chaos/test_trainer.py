"""What is done to a trainer, and to what it writes."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

import psutil
import pytest

from tests.chaos.conftest import slow_job
from tests.services.trainer.platform import DEADLY, digits_job
from tests.waiting import wait_until

pytestmark = pytest.mark.chaos


def is_past(step):
    return lambda job: ((job.progress or {}).get("step") or 0) >= step


def check_end(platform, job, undisturbed, name):
    done = platform.end_of(job, 240)
    assert done.status == "completed", (done.error, platform.log(job))
    assert done.result["bundle_digest"] == undisturbed
    assert len(platform.registry.list_models(name=name).items) == 1
    return done


def phase(platform, job):
    """What a job's process does now, from its own folder."""
    for path in platform.folder.glob(f"work-*/jobs/{job.job_id}-*/progress.json"):
        with suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(path.read_text())["phase"]
    return None


@pytest.mark.parametrize("moment", ["export", "register", "registered"])
def test_a_kill_after_the_last_step_registers_one_model(
    platform, undisturbed, trainers, recovery, moment
):
    name = f"late-{moment}"
    job = platform.scheduler.submit("training", slow_job(name))
    if moment == "registered":
        wait_until(lambda: platform.registry.list_models(name=name).items)
    else:
        wait_until(lambda: phase(platform, job) == moment)
    holder = platform.scheduler.get_job(job.job_id).worker_id
    trainers[holder].kill()
    with recovery():
        done = check_end(platform, job, undisturbed, name)
    assert (done.attempt, done.worker_id == holder) == (2, False)


def everything_of(pid):
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def test_a_frozen_trainer_comes_back_as_a_refused_zombie(platform, undisturbed, trainers, recovery):
    job = platform.scheduler.submit("training", slow_job("frozen"))
    platform.wait_for(job, is_past(50))
    first = platform.scheduler.get_job(job.job_id)
    holder = trainers[first.worker_id]
    frozen = everything_of(holder.pid)
    said = holder.log.stat().st_size
    for process in frozen:
        process.suspend()
    with recovery():
        time.sleep(6)  # two lease times
        platform.wait_for(job, lambda found: found.worker_id not in (None, first.worker_id))
    (run,) = (p for p in frozen if "services.trainer.run" in " ".join(p.cmdline()))
    for process in frozen:
        process.resume()
    done = check_end(platform, job, undisturbed, "frozen")
    assert done.fencing_token > first.fencing_token
    wait_until(lambda: not run.is_running())
    assert "The claim is over; the run is killed." in holder.log.read_text()[said:]
    again = platform.scheduler.submit("training", digits_job("thawed", epochs=1))
    assert platform.end_of(again).status == "completed"


@pytest.mark.parametrize("whose", ["run", "worker"])
def test_a_poison_job_fails_and_the_next_one_runs(platform, trainers, recovery, whose):
    model = {"entry_point": DEADLY, "arguments": {"whose": whose}}
    poison = platform.scheduler.submit("training", digits_job("poison", model=model))
    with recovery():
        healthy = platform.scheduler.submit("training", digits_job("healthy", epochs=1))
        done = platform.end_of(poison, 240)
        after = platform.scheduler.submit("training", digits_job("healthy", epochs=1))
        assert platform.end_of(healthy).status == "completed"
        assert platform.end_of(after).status == "completed"
    assert (done.status, done.attempt) == ("failed", done.max_attempts)
    assert done.error


def test_a_checkpoint_damaged_in_the_store_is_passed_over(
    platform, undisturbed, trainers, recovery
):
    job = platform.scheduler.submit("training", slow_job("damaged"))
    platform.wait_for(job, is_past(50))
    newest = wait_until(lambda: platform.registry.newest_checkpoint(job.job_id))
    trainers[platform.scheduler.get_job(job.job_id).worker_id].kill()
    newest = platform.registry.newest_checkpoint(job.job_id)
    stored = platform.stored(newest.digest)
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    with recovery():
        done = check_end(platform, job, undisturbed, "damaged")
    assert done.attempt == 2
    assert f"{newest.file_name} is damaged" in platform.log(job)


def test_a_trainer_whose_disk_is_full_goes_on_when_it_is_not(
    platform, undisturbed, recovery, tmp_path
):
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=8m tmpfs {tmp_path}"):
        pytest.skip("no right to mount")
    try:
        for trainer in platform.trainers.values():
            trainer.stop()
        platform.start_trainers("trainer-full", WORK_FOLDER=tmp_path / "work")
        job = platform.scheduler.submit("training", slow_job("full"))
        platform.wait_for(job, is_past(30))
        with (tmp_path / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        with recovery():
            failed = platform.wait_for(job, lambda found: found.attempt > 1 or found.is_finished)
            assert not failed.is_finished, failed.error
            (tmp_path / "filler").unlink()
            check_end(platform, job, undisturbed, "full")
        said = [event.reason for event in platform.scheduler.history(job.job_id) if event.reason]
        assert said  # no more than the exit code, where not even the outcome could be written
    finally:
        platform.trainers.pop("trainer-full").stop()
        os.system(f"umount -l {tmp_path}")
