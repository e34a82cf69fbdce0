"""A trainer that is told of GPUs does not train on the processor without a word."""

import subprocess
import sys

import pytest

from services.trainer.order import Order, read_outcome, write_file

MORE_THAN_HERE = 64


@pytest.fixture
def order(tmp_path):
    """What a worker hands to its process, for a pool of many GPUs; no service is there."""
    return Order(
        job_id=1,
        fencing_token=1,
        attempt=1,
        job_type="training",
        config={},
        trace_id="0" * 32,
        registry_url="http://127.0.0.1:1",
        token_file=tmp_path / "token",
        data_folder=tmp_path,
        cache_folder=tmp_path,
        entry_points=(),
        max_artifact_bytes=1024,
        threads=1,
        gpus=MORE_THAN_HERE,
        num_nodes=1,
        is_leader=True,
    )


def test_a_node_without_its_gpus_fails_the_attempt_and_not_the_job(tmp_path, order):
    (tmp_path / "token").write_text("of-a-trainer")
    write_file(tmp_path, "order.json", order)
    run = [sys.executable, "-m", "services.trainer.run", tmp_path / "order.json"]
    subprocess.run(run, check=True, capture_output=True)
    outcome = read_outcome(tmp_path)
    assert outcome.outcome == "failed"
    assert outcome.retryable
    assert "TRAINING_TRAINER_GPUS is 64; see to the node's driver" in outcome.error
