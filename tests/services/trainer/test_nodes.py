"""Jobs over several nodes: trainers with files and addresses of their own, on one machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.services.trainer.platform import DEADLY, SLOW, Platform
from utils.service.embedded.child import free_port
from utils.service.embedded.valkey import ValkeyServer

pytestmark = pytest.mark.slow  # several trainers on one machine

LEADER, FOLLOWER = "127.0.0.1", "127.0.0.2"
PATIENCE_SECONDS = 240  # two nodes start four processes that import torch, twice where one is lost
SLOWLY = {"entry_point": SLOW, "arguments": {"seconds": 0.1}}  # 20 batches an epoch


class Nodes:
    """A platform whose only trainers are the nodes of one group."""

    def __init__(self, platform):
        self.platform = platform
        self.port = free_port()

    def start(self, *addresses, **settings):
        """See that these nodes are at work."""
        for address in addresses:
            self.platform.start_trainers(
                f"trainer-{address}",
                GROUP=f"{LEADER},{FOLLOWER}",
                ADDRESS=address,
                GROUP_PORT=self.port,
                LEASE_SECONDS=6,
                **settings,
            )

    def stop(self, *addresses):
        """End the trainers of these nodes, where they are at work."""
        for address in addresses:
            if f"trainer-{address}" in self.platform.trainers:
                self.trainer(address).stop()

    def trainer(self, address):
        """A node's trainer."""
        return self.platform.trainers[f"trainer-{address}"]

    def submit(self, config, gpus=1, nodes=2, **changes):
        """Ask for a job over nodes."""
        resources = {"gpus": gpus, "nodes": nodes}
        return self.platform.scheduler.submit("training", config, resources=resources, **changes)

    def submit_slow(self, make_job, name):
        """Ask for a job that lasts long enough to be disturbed after its first checkpoint."""
        job = self.submit(make_job(name, epochs=4, model=SLOWLY))
        self.await_step(job, 15)
        return job

    def await_step(self, job, step):
        """Wait until a job is past a step, and its checkpoint is in the store."""
        self.wait_for(job, lambda j: ((j.progress or {}).get("step") or 0) >= step)
        deadline = time.monotonic() + 30
        while self.platform.registry.newest_checkpoint(job.job_id) is None:
            assert time.monotonic() < deadline, self.platform.log(job)
            time.sleep(0.05)

    def processes(self, address, job):
        """The processes of a job on a node: its launcher and its ranks, by rank."""
        folder = f"{self.platform.work_folder(f'trainer-{address}')}/jobs/{job.job_id}-"
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                if str((process / "cwd").readlink()).startswith(folder):
                    rank = [e[5:].decode() for e in environment if e.startswith(b"RANK=")]
                    found[int(process.name)] = rank[0] if rank else "launcher"
            except OSError:
                continue
        return found

    def wait_for(self, job, is_there):
        """Wait until a job is as a function wants it."""
        self.platform.wait_for(job, is_there, PATIENCE_SECONDS)

    def end_of(self, job):
        """Wait until a job is finished, and give it."""
        return self.platform.end_of(job, PATIENCE_SECONDS)

    def assert_done(self, job):
        """The job ends well, with one model, and none of its processes is left; give it."""
        done = self.end_of(job)
        assert done.status == "completed", (done.error, self.platform.log(done))
        assert len(self.platform.registry.list_models(name=job.model_name).items) == 1
        self.assert_nothing_runs(job)
        return done

    def reasons(self, job):
        """Why the job changed its status, each time."""
        history = self.platform.scheduler.history(job.job_id)
        return " ".join(event.reason or "" for event in history)

    def process_of(self, rank, address, job):
        """The process of a rank."""
        (found,) = [pid for pid, what in self.processes(address, job).items() if what == rank]
        return found

    def assert_nothing_runs(self, job, on=(LEADER, FOLLOWER)):
        """No process of the job is left on these nodes."""
        deadline = time.monotonic() + 10
        while left := [process for address in on for process in self.processes(address, job)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, postgres, migrated_postgres):
    folder = tmp_path_factory.mktemp("nodes")
    with ValkeyServer(folder / "valkey") as valkey:
        url = postgres.create_database("nodes", template=migrated_postgres)
        platform = Platform(folder, url, valkey.url())
        yield Nodes(platform)
        platform.close()


@pytest.fixture
def both(nodes):
    """Both nodes at work."""
    nodes.start(LEADER, FOLLOWER)
    return nodes


@pytest.fixture(scope="module")
def undisturbed(nodes, make_job):
    """What becomes of a slow job that nothing happens to."""
    nodes.start(LEADER, FOLLOWER)
    return nodes.assert_done(nodes.submit(make_job("undisturbed", epochs=4, model=SLOWLY)))


@pytest.mark.parametrize("ranks", [1, 2])
def test_two_nodes_train_the_same_model_as_one_node_with_all_their_ranks(both, make_job, ranks):
    apart = both.assert_done(both.submit(make_job(f"apart-{ranks}"), ranks, nodes=2))
    together = both.assert_done(both.submit(make_job(f"together-{ranks}"), 2 * ranks, nodes=1))
    assert apart.result["bundle_digest"] == together.result["bundle_digest"]
    assert apart.result["metrics"] == together.result["metrics"]


def test_a_lost_rank_of_a_follower_is_started_again_with_all_others(both, undisturbed, make_job):
    job = both.submit_slow(make_job, "rank-lost")
    os.kill(both.process_of("1", FOLLOWER, job), signal.SIGKILL)
    done = both.assert_done(job)
    assert done.attempt == 1
    assert "Resumed from" in both.platform.log(job)
    assert done.result["bundle_digest"] == undisturbed.result["bundle_digest"]


def test_a_lost_follower_costs_the_attempt_and_not_the_job(both, undisturbed, make_job):
    job = both.submit_slow(make_job, "follower-lost")
    both.trainer(FOLLOWER).kill()
    both.assert_nothing_runs(job, on=[FOLLOWER])
    both.start(FOLLOWER)
    done = both.assert_done(job)
    assert done.attempt == 2
    assert f"The node {FOLLOWER} " in both.reasons(job)  # lost, or silent for longer than a lease
    assert "Resumed from" in both.platform.log(job)
    assert done.result["bundle_digest"] == undisturbed.result["bundle_digest"]


def test_a_follower_that_stays_away_is_waited_for_in_the_next_attempt(both, make_job):
    job = both.submit_slow(make_job, "follower-away")
    both.trainer(FOLLOWER).kill()
    both.wait_for(job, lambda found: found.attempt == 2 and found.status == "running")
    assert f"The node {FOLLOWER} has been silent for 6 s" in both.reasons(job)
    both.assert_nothing_runs(job)
    both.start(FOLLOWER)
    assert both.assert_done(job).attempt == 2


def test_a_lost_leader_ends_the_attempt_everywhere_and_the_next_goes_on(
    both, undisturbed, make_job
):
    job = both.submit_slow(make_job, "leader-lost")
    both.trainer(LEADER).kill()
    both.assert_nothing_runs(job)
    both.start(LEADER)
    done = both.assert_done(job)
    assert done.attempt == 2
    assert done.result["bundle_digest"] == undisturbed.result["bundle_digest"]


@pytest.mark.parametrize("leaving", [LEADER, FOLLOWER])
def test_a_node_that_must_go_has_all_save_and_give_back_the_job(
    both, undisturbed, make_job, leaving
):
    job = both.submit_slow(make_job, f"leaving-{leaving}")
    before = both.platform.registry.newest_checkpoint(job.job_id).step
    os.kill(both.trainer(leaving).pid, signal.SIGTERM)
    assert both.trainer(leaving)._process.wait(60) == 0
    assert both.platform.registry.newest_checkpoint(job.job_id).step > before
    both.start(leaving)
    done = both.assert_done(job)
    assert done.attempt == 1  # giving back costs none
    assert done.result["bundle_digest"] == undisturbed.result["bundle_digest"]


def test_a_cancelled_job_ends_on_all_nodes(both, make_job):
    job = both.submit_slow(make_job, "cancelled")
    both.platform.scheduler.cancel(job.job_id, "not wanted any more")
    assert both.end_of(job).status == "cancelled"
    both.assert_nothing_runs(job)
    assert both.platform.registry.list_models(name="cancelled").items == ()


def test_an_error_of_a_followers_rank_is_the_jobs_error(both, make_job):
    model = {"entry_point": DEADLY, "arguments": {"whose": "rank 1"}}
    done = both.end_of(both.submit(make_job("faulty", model=model)))
    assert done.status == "failed"
    assert done.error == "ArithmeticError: rank 1 can't"
    assert done.attempt == 1
    both.assert_nothing_runs(done)


def test_a_follower_that_never_comes_fails_the_attempt_with_its_name(nodes, make_job):
    nodes.stop(LEADER, FOLLOWER)
    nodes.start(LEADER, GROUP_SECONDS=2)
    job = nodes.submit(make_job("lonely"), max_attempts=1)
    done = nodes.end_of(job)
    assert done.status == "failed"
    assert f"{FOLLOWER} did not come within 2 s" in done.error
    nodes.stop(LEADER)  # the next one has its usual patience again


def test_shards_over_nodes_are_refused_in_a_sentence(both, make_job):
    job = both.submit(make_job("shards-apart", training_config={"strategy": "fsdp"}))
    done = both.end_of(job)
    assert done.status == "failed"
    assert "strategy is 'fsdp' over 2 nodes, allowed there are 'auto' and 'ddp'" in done.error


def test_more_than_the_trainer_has_is_refused_in_a_sentence(both, make_job):
    done = both.end_of(both.submit(make_job("too-much"), gpus=3, nodes=5))
    assert done.status == "failed"
    assert (
        "resources.nodes is 5, allowed on this trainer is a whole number from 1 to 2" in done.error
    )
    assert done.attempt == 1


def test_only_who_bears_the_token_is_heard(both, make_job):
    job = both.submit_slow(make_job, "overheard")
    url = f"http://{LEADER}:{both.port}/v1/group"
    report = {"address": FOLLOWER, "is_leaving": True}
    refused = httpx.post(url, json=report, headers={"Authorization": "Bearer of-nobody"})
    assert refused.status_code == 401
    assert refused.content == b""
    assert both.assert_done(job).attempt == 1
