"""Jobs that ask for several processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from onnxruntime import InferenceSession

from services.trainer.samples.digits import DigitNet, load_digits
from utils.service.packing import unpack
from utils.training.engine.checkpoint.file import read_checkpoint

pytestmark = pytest.mark.slow

SLOW_MODEL = {"entry_point": "slow_digits:build_model"}


def test_a_job_over_two_ranks_becomes_a_model(platform, trainer, make_job):
    job = platform.scheduler.submit("training", make_job("ranks"), resources={"gpus": 2})
    done = platform.end_of(job)
    assert done.status == "completed", (done.error, platform.log(done))
    champion = platform.registry.tagged("ranks")
    assert champion.model_id == done.result["model_id"]
    assert champion.metrics["held_out_accuracy"] > 0.8
    assert len(platform.registry.list_models(name="ranks").items) == 1


def test_a_job_with_shards_becomes_a_model_that_answers_as_its_checkpoint(
    platform, trainer, make_job
):
    config = make_job("shards", training_config={"strategy": "fsdp"})
    job = platform.scheduler.submit("training", config, resources={"gpus": 2})
    done = platform.end_of(job)
    assert done.status == "completed", (done.error, platform.log(done))
    (registered,) = platform.registry.list_models(name="shards").items
    assert registered.metrics["held_out_accuracy"] > 0.8
    checkpoint = platform.stored(registered.metadata["checkpoint_digest"])
    model = DigitNet().eval()
    model.load_state_dict(read_checkpoint(checkpoint)["model_state_dict"])
    bundle = Path("bundle")
    unpack(platform.stored(done.result["bundle_digest"]), bundle, max_bytes=2**30)
    session = InferenceSession(next(bundle.glob("**/*.onnx")))
    images = load_digits().test.images[:32]
    (answers,) = session.run(["logits"], {"pixel_values": images.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(answers), model(images), rtol=0, atol=1e-4)


def test_a_job_with_shards_goes_on_from_its_newest_checkpoint_elsewhere(
    platform, two_trainers, make_job
):
    training = {"strategy": "fsdp"}
    config = make_job("shards-lost", model=SLOW_MODEL, training_config=training, epochs=4)
    job = platform.scheduler.submit("training", config, resources={"gpus": 2})
    platform.wait_for(job, lambda found: ((found.progress or {}).get("step") or 0) >= 30)
    holder = platform.scheduler.get_job(job.job_id).worker_id
    two_trainers[holder].kill()
    done = platform.end_of(job, 150)
    assert done.status == "completed", (done.error, platform.log(done))
    assert done.worker_id != holder
    assert "Resumed from" in platform.log(job)
    assert len(platform.registry.list_models(name="shards-lost").items) == 1


def test_a_job_over_several_nodes_is_refused_in_a_sentence(platform, trainer, make_job):
    job = platform.scheduler.submit("training", make_job("nodes"), resources={"nodes": 2})
    done = platform.end_of(job)
    assert done.status == "failed"
    assert "resources.nodes is 2, allowed on this trainer is 1" in done.error
    assert done.attempt == 1


def test_a_killed_rank_is_started_again_within_the_attempt(platform, trainer, make_job):
    config = make_job("rank-killed", model=SLOW_MODEL)
    job = platform.scheduler.submit("training", config, resources={"gpus": 2})
    platform.wait_for(job, lambda found: (found.progress or {}).get("gradient_norm"))
    os.kill(_second_rank(job), signal.SIGKILL)
    done = platform.end_of(job, 150)
    assert done.status == "completed", (done.error, platform.log(done))
    assert done.attempt == 1
    assert "Resumed from" in platform.log(done)


def _second_rank(job):
    """The process of rank 1, found by its environment and its order's folder."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                folder = str((process / "cwd").readlink())
            except OSError:
                continue
            if b"RANK=1" in environment and f"/jobs/{job.job_id}-" in folder:
                return int(process.name)
        time.sleep(0.05)
    pytest.fail("There is no second rank.")
    return 0
