"""Workers of real processes, and real signals."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.waiting import wait_until
from utils.training.engine.data import ResumableDataLoader

SHARED = Path(__file__).parents[4] / "shared"

PROGRAM = """
import os, signal, sys, time, torch
from utils.training.engine.data import ResumableDataLoader

class Slow:
    def __len__(self):
        return 4000
    def __getitem__(self, index):
        time.sleep(0.02)
        return index

stopped = []
{handler}
num_seen = num_after = 0
for batch in ResumableDataLoader(Slow(), 2, num_workers=2):
    if not num_seen:
        print("running", flush=True)
    num_seen += len(batch)
    num_after += len(batch) if stopped else 0
    if num_after == 20:
        break
print("20 more" if stopped else "", flush=True)
"""


def start(handler):
    environment = {**os.environ, "PYTHONPATH": str(SHARED), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(handler=handler)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout.readline() == "running\n"
    return process


def children_of(pid):
    return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_gone(pid):
    return not Path(f"/proc/{pid}").exists()


class Data:
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.tensor([index, torch.get_num_threads(), os.getpid()])


class Broken(Data):
    def __getitem__(self, index):
        if index == 9:
            raise KeyError(index)
        return super().__getitem__(index)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_parent(number):
    process = start(f"signal.signal({int(number)}, lambda *_: stopped.append(1))")
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("20 more\n", "", 0)


def test_ctrl_c_shows_one_traceback_and_none_of_a_worker():
    process = start("")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == 1
    assert "KeyboardInterrupt" in errors
    assert "_worker_loop" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(number):
    process = start("")
    workers = children_of(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_until(lambda: all(map(is_gone, workers)))


@pytest.mark.parametrize("persistent", [False, True])
def test_no_worker_is_left_after_an_error_in_the_training_loop(persistent):
    before = children_of(os.getpid())

    def train():
        for _ in ResumableDataLoader(Data(), 2, num_workers=2, persistent_workers=persistent):
            raise RuntimeError("of the model")

    with pytest.raises(RuntimeError, match="of the model"):
        train()
    gc.collect()
    wait_until(lambda: children_of(os.getpid()) <= before)


@pytest.mark.parametrize("persistent", [False, True])
def test_an_error_in_the_dataset_ends_the_workers_at_once(persistent):
    before = children_of(os.getpid())
    loader = ResumableDataLoader(
        Broken(), 2, num_workers=2, persistent_workers=persistent, shuffle=False
    )
    for _ in range(2):  # a failed epoch doesn't keep the next one from starting
        with pytest.raises(KeyError):
            list(loader)
        assert children_of(os.getpid()) <= before


def test_a_worker_has_one_thread_and_there_are_as_many_as_asked_for():
    torch.set_num_threads(2)
    try:
        rows = torch.cat(list(ResumableDataLoader(Data(), 2, num_workers=2)))
    finally:
        torch.set_num_threads(1)
    assert rows[:, 1].unique().tolist() == [1]
    assert len(rows[:, 2].unique()) == 2
