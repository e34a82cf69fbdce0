"""Checkpoints go when no job goes on from them; nothing else ever does."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import update

from services.registry.app import create_running_app
from services.registry.metrics import RegistryMetrics
from services.registry.retention import Retention
from services.registry.settings import RegistrySettings
from services.registry.stores import Stores, guard_of
from services.trainer.run.checkpoints import fetch_newest
from utils.service.artifacts import UnknownArtifactError
from utils.service.auth import write_tokens
from utils.service.contracts.models import CheckpointUpload, Fence, ModelRegistration
from utils.service.http import RemoteError
from utils.service.loops import Loop
from utils.training.database import utc_now
from utils.training.job_queue import JobManager, StaleClaimError, TrainingScheduler
from utils.training.job_queue.checkpoints import checkpoint_artifact
from utils.training.job_queue.tables import job as job_table
from utils.training.retraining_tables import trigger_rule

DAYS = 7


class Replica:
    """A registry's stores and its retention."""

    def __init__(self, settings):
        self.stores = Stores.of(settings)
        self.metrics = RegistryMetrics()
        self.retention = Retention(self.stores, self.metrics, DAYS)
        self.sweep = self.retention.sweep

    def put(self, content):
        digest = hashlib.sha256(content).hexdigest()
        self.stores.artifacts.append(digest, 0, [content])
        self.stores.artifacts.commit(digest)
        return digest

    def upload(self, content=None):
        """Bring a checkpoint into the store, as the route does."""
        content = os.urandom(1000) if content is None else content
        self.stores.checkpoints.expect(hashlib.sha256(content).hexdigest())
        return self.put(content)

    def record(self, job, digest, step, keep=2):
        self.stores.checkpoints.guarded_by(guard_of(fence_of(job))).save(
            job.job_id,
            digest,
            f"checkpoint_step{step}.pt",
            step,
            keep=keep,
            check=lambda: self.stores.require_artifact(digest),
        )

    def save(self, job, step, keep=2):
        digest = self.upload()
        self.record(job, digest, step, keep)
        return digest

    def there(self, *digests):
        return [self.stores.artifacts.has(digest) for digest in digests]

    def noted(self, job):
        return [found.digest for found in self.stores.checkpoints.of_job(job.job_id)]

    def check_consistent(self, *jobs):
        """No record is without its artifact."""
        for job in jobs:
            assert all(map(self.stores.artifacts.verify, self.noted(job)))


def settings_in(folder, database_url, staging="staging"):
    return RegistrySettings(
        tokens_file=folder / "tokens.json",
        database_url=database_url,
        store_url=str(folder / "store"),
        staging_folder=folder / staging,
    )


@pytest.fixture
def settings(tmp_path, database_url):
    write_tokens(tmp_path / "tokens.json", [])
    return settings_in(tmp_path, database_url)


@pytest.fixture
def replica(settings):
    return Replica(settings)


@pytest.fixture
def jobs(database_url):
    return JobManager(database_url)


@pytest.fixture
def claim(jobs):
    def claim(config=None):
        jobs.submit_job("training", config or {})
        return jobs.claim_job("worker-1", lease_seconds=600)

    return claim


def fence_of(job):
    return Fence(job_id=job.job_id, fencing_token=job.fencing_token)


def make_older(replica, table, column, **by):
    """Turn back what a column says, as if time had gone by."""
    past = utc_now() - timedelta(**by)
    with replica.stores.engine.begin() as connection:
        connection.execute(update(table).values({column: past}))


def test_the_newest_stay_and_can_be_read_and_the_older_go(replica, claim):
    job = claim()
    one, two, three = (replica.save(job, step) for step in (10, 20, 30))
    assert replica.there(one, two, three) == [True, True, True]
    assert replica.sweep() == 1000
    assert replica.there(one, two, three) == [False, True, True]
    assert replica.noted(job) == [three, two]
    replica.check_consistent(job)
    assert replica.metrics.removed_bytes._value.get() == 1000
    assert replica.sweep() == 0


def test_nothing_is_removed_where_all_are_kept(replica, claim):
    job = claim()
    saved = [replica.save(job, step, keep=0) for step in (10, 20, 30)]
    assert replica.sweep() == 0
    assert replica.noted(job) == saved[::-1]
    assert all(replica.there(*saved))


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_the_checkpoints_of_a_job_go_a_while_after_its_end(replica, claim, jobs, end):
    ended, running = claim(), claim()
    last, other = replica.save(ended, 10), replica.save(running, 10)
    jobs.mark_running(ended.job_id)
    if end == "completed":
        jobs.mark_completed(ended.job_id)
    elif end == "failed":
        jobs.mark_failed(ended.job_id, "no", retryable=False)
    else:
        jobs.cancel(ended.job_id)
        jobs.mark_cancelled(ended.job_id)
    assert jobs.get_job(ended.job_id).status == end
    assert replica.sweep() == 0
    with replica.stores.engine.begin() as connection:
        of_ended = update(job_table).where(job_table.c.id == ended.job_id)
        connection.execute(of_ended.values(finished_at=utc_now() - timedelta(days=DAYS + 1)))
    assert replica.sweep() == 1000
    assert replica.there(last, other) == [False, True]
    assert (replica.noted(ended), replica.noted(running)) == ([], [other])


def test_a_deleted_jobs_checkpoints_go_with_it(replica, claim, jobs):
    job = claim()
    last = replica.save(job, 10)
    jobs.mark_running(job.job_id)
    jobs.mark_completed(job.job_id)
    assert jobs.delete_finished(utc_now() + timedelta(days=1)) == 1
    replica.sweep()
    assert replica.there(last) == [False]


def test_an_artifact_that_another_job_goes_on_from_stays(replica, claim):
    job, other = claim(), claim()
    shared = replica.save(job, 10)
    replica.record(other, shared, 10)
    for step in (20, 30):
        replica.save(job, step)
    assert replica.sweep() == 0
    assert replica.noted(other) == [shared]
    replica.check_consistent(job, other)


REFERENCES = {
    "a bundle": lambda replica, jobs, digest: register(replica, artifact_digest=digest),
    "what a model is exported from": lambda replica, jobs, digest: register(
        replica, metadata={"checkpoint_digest": digest}
    ),
    "a job's data": lambda replica, jobs, digest: jobs.submit_job("training", data(digest)),
    "a schedule's data": lambda replica, jobs, digest: TrainingScheduler(
        replica.stores.engine
    ).create_schedule("nightly", "training", data(digest), "0 3 * * *"),
    "a rule's data": lambda replica, jobs, digest: add_rule(replica, data(digest)),
}


def data(digest):
    return {"data": {"train": {"location": f"artifact:{digest}"}}}


def register(replica, **values):
    replica.stores.models.register_model("digits", "1", "artifact:x", "t", **values)


def add_rule(replica, rule):
    now = utc_now()
    values = {"model_name": "m", "rule": rule, "created_at": now, "updated_at": now}
    with replica.stores.engine.begin() as connection:
        connection.execute(trigger_rule.insert().values(updated_by="somebody", **values))


@pytest.mark.parametrize("kind", REFERENCES)
def test_an_artifact_that_is_something_else_too_stays(replica, claim, jobs, kind):
    job = claim()
    shared = replica.save(job, 10)
    REFERENCES[kind](replica, jobs, shared)
    older, _, _ = (replica.save(job, step) for step in (20, 30, 40))
    assert replica.sweep() == 1000
    assert replica.there(shared, older) == [True, False]
    assert replica.sweep() == 0


def test_what_did_not_come_as_a_checkpoint_stays(replica, claim):
    job = claim()
    other = replica.put(b"a data set that nobody names yet")
    replica.record(job, other, 10)
    for step in (20, 30):
        replica.save(job, step)
    make_older(replica, checkpoint_artifact, "kept_until", days=1)
    replica.sweep()
    assert replica.there(other) == [True]


def test_an_upload_without_a_record_stays_for_a_day(replica, claim):
    digest = replica.upload()
    assert replica.sweep() == 0
    assert replica.there(digest) == [True]
    make_older(replica, checkpoint_artifact, "kept_until", seconds=1)
    assert replica.sweep() == 1000
    with pytest.raises(UnknownArtifactError, match="upload it first"):
        replica.record(claim(), digest, 10)


def test_a_stale_claim_removes_nothing(replica, claim, jobs):
    stale = claim()
    saved = [replica.save(stale, step) for step in (10, 20)]
    jobs.release(stale.job_id, stale.fencing_token, "the worker stops")
    with pytest.raises(StaleClaimError):
        replica.save(stale, 30)
    assert replica.sweep() == 0
    assert replica.noted(stale) == saved[::-1]


class Killed(BaseException):
    """In the place of a kill -9."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_beside_the_files_removal_costs_nothing(replica, claim, monkeypatch, moment):
    job = claim()
    content = os.urandom(1000)
    old = replica.upload(content)
    replica.record(job, old, 10)
    for step in (20, 30):
        replica.save(job, step)
    remove = replica.stores.artifacts.remove

    def killed(digest):
        if moment == "after":
            remove(digest)
        raise Killed

    monkeypatch.setattr(replica.stores.artifacts, "remove", killed)
    with pytest.raises(Killed):
        replica.sweep()
    monkeypatch.undo()
    replica.check_consistent(job)
    assert replica.there(old) == [moment == "before"]
    assert replica.sweep() == (1000 if moment == "before" else 0)
    assert replica.stores.checkpoints.unused() == ()
    assert replica.there(old) == [False]


def test_an_upload_after_half_a_removal_is_whole(replica, claim):
    job = claim()
    content = os.urandom(1000)
    old = replica.upload(content)
    replica.record(job, old, 10)
    for step in (20, 30):
        replica.save(job, step)
    replica.stores.artifacts.remove(old)  # and killed before the row went
    assert replica.upload(content) == old
    assert replica.sweep() == 0
    other = claim()
    replica.record(other, old, 10)
    assert replica.sweep() == 0
    replica.check_consistent(job, other)


def test_a_store_that_refuses_one_removal_is_asked_for_the_others(replica, claim, monkeypatch):
    job = claim()
    saved = [replica.save(job, step) for step in (10, 20, 30, 40)]
    remove = replica.stores.artifacts.remove

    def refusing(digest):
        if digest == saved[0]:
            raise PermissionError("no")
        return remove(digest)

    monkeypatch.setattr(replica.stores.artifacts, "remove", refusing)
    assert replica.sweep() == 1000
    monkeypatch.undo()
    assert replica.sweep() == 1000
    assert replica.there(*saved) == [False, False, True, True]


def test_two_replicas_at_once_remove_each_artifact_once(replica, settings, claim):
    job = claim()
    saved = [replica.save(job, step) for step in range(1, 21)]
    replicas = [replica, Replica(settings)]
    removed = [0, 0]
    ready = threading.Barrier(2)

    def sweep(number):
        ready.wait()
        removed[number] = replicas[number].sweep()

    in_parallel(*(lambda number=number: sweep(number) for number in (0, 1)))
    replica.sweep()
    assert sum(removed) <= 18 * 1000
    assert sum(each.metrics.removed_bytes._value.get() for each in replicas) == 18 * 1000
    assert replica.there(*saved) == [False] * 18 + [True] * 2
    replica.check_consistent(job)


def in_parallel(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()


def test_a_record_of_what_is_being_removed_is_refused(replica, settings, claim, monkeypatch):
    job, other = claim(), claim()
    old = replica.save(job, 10)
    for step in (20, 30):
        replica.save(job, step)
    second = Replica(settings)
    remove, removing = replica.stores.artifacts.remove, threading.Event()
    refused = []

    def slowly(digest):
        removing.set()
        in_time = recorder_is_done.wait(0.5)
        assert not in_time  # it waits for the removal's end
        return remove(digest)

    def record():
        removing.wait(10)
        try:
            second.record(other, old, 10)
        except UnknownArtifactError as error:
            refused.append(error)
        recorder_is_done.set()

    recorder_is_done = threading.Event()
    monkeypatch.setattr(replica.stores.artifacts, "remove", slowly)
    in_parallel(replica.sweep, record)
    assert refused
    assert replica.there(old) == [False]
    assert replica.noted(other) == []


def test_records_and_removals_at_once_leave_no_record_without_its_artifact(
    replica, settings, claim
):
    contents = [os.urandom(100) for _ in range(4)]
    works = [claim(), claim()]
    second = Replica(settings)
    is_done = threading.Event()

    def save(job):
        for step in range(1, 31):
            content = contents[step % 4]
            digest = hashlib.sha256(content).hexdigest()
            if not replica.there(digest)[0]:
                with suppress(ValueError, FileNotFoundError):  # the other uploads it now
                    replica.upload(content)
            with suppress(UnknownArtifactError):
                replica.record(job, digest, step, keep=1)

    def sweep():
        while not is_done.is_set():
            second.sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        in_parallel(*(lambda job=job: save(job) for job in works))
    finally:
        is_done.set()
        sweeper.join(120)
    assert any(map(replica.noted, works))
    replica.check_consistent(*works)


def test_the_loop_runs_unless_everything_is_kept(settings, monkeypatch):
    swept, loops = threading.Event(), []

    def loop(*arguments):
        loops.append(Loop(*arguments))
        return loops[-1]

    monkeypatch.setattr(Retention, "sweep", lambda _: swept.set())
    monkeypatch.setattr("services.registry.app.Loop", loop)
    create_running_app(
        settings.model_copy(update={"keep_checkpoints": 0, "keep_checkpoints_days": 0})
    )
    assert not swept.wait(0.3)
    create_running_app(settings)
    assert swept.wait(60)
    for each in loops:
        each.stop()


# Over HTTP, with another replica on the same stores.


@pytest.fixture
def beside(served, tmp_path, postgres_url):
    return Replica(settings_in(tmp_path, postgres_url, "staging-2"))


@pytest.fixture
def served_job(postgres_url):
    jobs = JobManager(postgres_url)
    jobs.submit_job("training", {})
    return jobs.claim_job("worker-1", lease_seconds=600)


def file_of(tmp_path, step):
    path = tmp_path / f"checkpoint_step{step}.pt"
    path.write_bytes(f"{step}".encode() * 1000)
    return path


def save_over_http(trainer, job, path, step):
    digest = trainer.upload(path, is_checkpoint=True)
    upload = CheckpointUpload(digest=digest, file_name=path.name, step=step, fence=fence_of(job))
    trainer.save_checkpoint(job.job_id, upload)
    return digest


def test_over_http_the_two_newest_are_listed_and_loaded(callers, beside, served_job, tmp_path):
    trainer, job = callers["trainer"], served_job
    one, two, three = (
        save_over_http(trainer, job, file_of(tmp_path, step), step) for step in (1, 2, 3)
    )
    assert beside.sweep() == 1000
    listed = callers["reader"].checkpoints(job.job_id)
    assert [(found.digest, found.step) for found in listed] == [(three, 3), (two, 2)]
    for found in listed:
        copy = trainer.download(found.digest, tmp_path / "copy.pt")
        assert copy.read_bytes() == (tmp_path / found.file_name).read_bytes()
    again = CheckpointUpload(digest=one, file_name="checkpoint_a.pt", step=4, fence=fence_of(job))
    with pytest.raises(RemoteError, match="upload it first"):
        trainer.save_checkpoint(job.job_id, again)
    assert save_over_http(trainer, job, file_of(tmp_path, 1), 4) == one
    assert callers["reader"].checkpoints(job.job_id + 1) == []


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_trainer_goes_on_from_the_checkpoint_before_a_harmed_one(
    callers, beside, served_job, tmp_path, harm
):
    trainer, job = callers["trainer"], served_job
    for step in (1, 2, 3):
        newest = save_over_http(trainer, job, file_of(tmp_path, step), step)
    (stored,) = (tmp_path / "store").rglob(newest)
    if harm == "damaged":
        stored.write_bytes(b"x" * 1000)
    else:
        stored.unlink()
    running = SimpleNamespace(registry=trainer, order=job)
    assert fetch_newest(running, tmp_path / "fetched", max_bytes=10_000)
    (fetched,) = (tmp_path / "fetched").iterdir()
    assert fetched.read_bytes() == (tmp_path / "checkpoint_step2.pt").read_bytes()


def test_a_model_may_refer_to_a_checkpoint_that_was_about_to_go(
    callers, beside, served_job, tmp_path
):
    trainer, job = callers["trainer"], served_job
    one = save_over_http(trainer, job, file_of(tmp_path, 1), 1)
    for step in (2, 3):
        save_over_http(trainer, job, file_of(tmp_path, step), step)
    assert trainer.upload(file_of(tmp_path, 1), is_checkpoint=True) == one  # nothing is sent
    assert beside.sweep() == 0
    bundle = tmp_path / "bundle.tar"
    bundle.write_bytes(b"a bundle")
    values = {"name": "digits", "task_type": "t", "bundle_digest": trainer.upload(bundle)}
    trainer.register(ModelRegistration(**values, checkpoint_digest=one, fence=fence_of(job)))
    make_older(beside, checkpoint_artifact, "kept_until", seconds=1)
    assert beside.sweep() == 0
    assert trainer.download(one, tmp_path / "copy.pt").stat().st_size == 1000
    missing = ModelRegistration(**values, checkpoint_digest="a" * 64)
    with pytest.raises(RemoteError, match="upload it first"):
        trainer.register(missing)


def test_a_file_that_is_sent_as_something_else_too_stays(callers, beside, tmp_path):
    path = file_of(tmp_path, 1)
    digest = callers["trainer"].upload(path, is_checkpoint=True)
    assert callers["trainer"].upload(path) == digest
    make_older(beside, checkpoint_artifact, "kept_until", seconds=1)
    assert beside.sweep() == 0
    assert beside.there(digest) == [True]
