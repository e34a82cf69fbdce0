"""What becomes of the ranks when one of them is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore

from tests.training.engine.distributed.launching import (
    DISTURBED,
    command,
    environment,
    launch,
    order,
    result,
    write,
)
from utils.training.engine.distributed import RankFailedError, RankLostError, failure
from utils.training.engine.distributed.failure import FailureWatch


def test_an_error_on_one_rank_ends_all_with_its_message(tmp_path):
    ended = launch(tmp_path, [order(tmp_path, 2, faulty_rank=1)], 2, check=False)
    assert ended.returncode != 0
    assert "sample 7 is torn" in ended.stderr
    assert "RankFailedError: Rank 1 failed: ValueError: sample 7 is torn" in ended.stderr
    assert time.time() - (tmp_path / "raised").stat().st_mtime < 30


def test_a_broken_connection_without_a_word_means_a_lost_rank(monkeypatch):
    monkeypatch.setattr(failure, "_AWAIT_MESSAGE_SECONDS", 0.1)
    watch = FailureWatch(HashStore(), rank=0)
    with pytest.raises(RankLostError, match="Connection closed by peer"), watch.watching():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match="mat1 and mat2"), watch.watching():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with (
        pytest.raises(RankFailedError, match="Rank 0 failed: RuntimeError: mat1"),
        watch.watching(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")


@pytest.mark.slow
def test_a_killed_rank_costs_no_more_than_the_way_from_the_last_checkpoint(runs, tmp_path):
    orders = [order(tmp_path, 2, seconds=0.02, resume_from="auto", **DISTURBED)]
    process = start(tmp_path, orders, "--max-restarts", "1")
    await_batches(process, tmp_path, 16)
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGKILL)
    assert process.wait(90) == 0
    undisturbed = runs.two / "undisturbed"
    for rank in (0, 1):
        ours, theirs = result(tmp_path, rank), result(undisturbed, rank)
        for name, weight in theirs["weights"].items():
            assert torch.equal(weight, ours["weights"][name])
    assert str(result(tmp_path)["metrics"]) == str(result(undisturbed)["metrics"])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_sigterm_saves_on_all_ranks_and_the_next_start_goes_on(tmp_path, strategy):
    orders = [order(tmp_path, 2, strategy, seconds=0.05, resume_from="auto", config={"epochs": 3})]
    process = start(tmp_path, orders)
    await_batches(process, tmp_path, 4)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    stopped = len((tmp_path / "progress").read_text().splitlines())
    assert list((tmp_path / "checkpoints").glob("*_step*.pt"))
    launch(tmp_path, orders, 2)
    batches = (tmp_path / "progress").read_text().splitlines()
    assert len(batches) == 3 * 10
    assert stopped < len(batches)


def start(folder: Path, orders, *options):
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command(write(folder, orders), 2, *options),
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def await_batches(process, folder, count):
    """Wait until so many batches are done."""
    path = folder / "progress"
    deadline = time.monotonic() + 60
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
