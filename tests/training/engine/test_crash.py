"""What is left after SIGTERM, and after kill -9 in the middle of a save."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from utils.training.engine import CheckpointManager, Trainer
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

SPEC = TaskSpec(name="crash", modality="tabular", num_classes=4)
ROOT = Path(__file__).parents[3]
WIDTH = 900  # 1.6 M parameters: with AdamW's state 20 MB, which takes a while to write


def data(count):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 16, generator=generator)
    return [{"x": row, "labels": row[:4].argmax()} for row in x]


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(16, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.Dropout(0.1),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, 4),
        )

    def forward(self, x):
        return self.layers(x)


class KilledAfter:
    """Kills its own process after a batch."""

    def __init__(self, batch):
        self.batch = batch

    def on_batch_end(self, batch_idx, loss):
        if batch_idx == self.batch:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in_the_second_save(folder, share_written):
    """Let this process kill itself once that share, or a bit more, of its bytes is written."""
    write, written = os.writev, 0

    def write_some(descriptor, parts):
        nonlocal written
        first = next(folder.glob("checkpoints/*.pt"), None)
        if first is None:
            return write(descriptor, parts)
        if written >= share_written * first.stat().st_size:
            os.kill(os.getpid(), signal.SIGKILL)
        count = write(descriptor, parts)
        written += count
        return count

    os.writev = write_some


def run(folder, *, asynchronous, callback=None, share_written=None):
    if share_written is not None:
        kill_in_the_second_save(folder, share_written)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Wide()
    config = TrainingConfig(
        learning_rate=1e-3,
        batch_size=4,
        epochs=1,
        checkpoint_dir=str(folder / "checkpoints"),
        save_interval_steps=3,
        async_checkpoints=asynchronous,
        device="cpu",
        progress_bar=False,
    )
    results = Trainer(model, None, config, SPEC, callback).train(data(120), resume_from="auto")
    torch.save({"weights": model.state_dict(), "loss": results["final_loss"]}, folder / "result.pt")


def run_apart(folder, **how):
    """Run in a process of its own, and return its exit code."""
    folder.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=run, args=(folder,), kwargs=how)
    process.start()
    process.join(120)
    return process.exitcode


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The result of a run that nothing happens to; it imports what the others need, too."""
    folder = tmp_path_factory.mktemp("straight")
    run(folder, asynchronous=False)
    return torch.load(folder / "result.pt")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asynchronous"])
@pytest.mark.parametrize("share_written", [0.0, 0.5], ids=["just begun", "half written"])
def test_kill_9_in_the_middle_of_a_save_loses_no_checkpoint(
    straight, tmp_path, asynchronous, share_written
):
    folder = tmp_path / "run"
    how = {"asynchronous": asynchronous}
    assert run_apart(folder, share_written=share_written, **how) == -signal.SIGKILL
    checkpoints = folder / "checkpoints"
    (partial,) = (path for path in checkpoints.iterdir() if path.suffix != ".pt")
    written = partial.stat().st_size
    whole = CheckpointManager(checkpoints).latest()
    assert written >= share_written * whole.stat().st_size
    assert run_apart(folder, **how) == 0
    result = torch.load(folder / "result.pt")
    assert result["loss"] == straight["loss"]
    for name, value in straight["weights"].items():
        assert torch.equal(value, result["weights"][name]), name


def test_a_damaged_newest_checkpoint_is_passed_over(straight, tmp_path):
    folder = tmp_path / "run"
    assert run_apart(folder, asynchronous=False, callback=KilledAfter(7)) == -signal.SIGKILL
    (newest,) = (folder / "checkpoints").glob("*.pt")
    older = newest.with_name("checkpoint_epoch0000_step00000001.pt")
    older.write_bytes(newest.read_bytes())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert run_apart(folder, asynchronous=False) == 0
    assert torch.load(folder / "result.pt")["loss"] == straight["loss"]


SCRIPT = """
import sys, time
from pathlib import Path
import torch
from torch import nn
from utils.training.engine import Trainer
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

folder, phase = Path(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        if self.training == (phase == "training"):
            (folder / "ready").touch()
            time.sleep(0.2)
        return self.layer(x)


rows = [{"x": torch.randn(4), "labels": torch.tensor(i % 2)} for i in range(400)]
config = TrainingConfig(
    batch_size=4,
    epochs=20,
    gradient_accumulation_steps=4,
    checkpoint_dir=str(folder / "checkpoints"),
    device="cpu",
    progress_bar=False,
)
spec = TaskSpec(name="s", modality="tabular", num_classes=2)
Trainer(Slow(), None, config, spec).train(rows, rows)
(folder / "finished").touch()
"""


@pytest.mark.parametrize("phase", ["training", "validation"])
def test_sigterm_ends_a_program_with_143_and_a_checkpoint(tmp_path, phase):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), phase],
        env={**os.environ, "PYTHONPATH": f"{ROOT}/shared"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert not (tmp_path / "finished").exists()
    newest = CheckpointManager(tmp_path / "checkpoints").latest()
    state = torch.load(newest, weights_only=True)
    position = state["custom_state"]["position"]
    assert position["is_epoch_trained"] == (phase == "validation")
    assert position["batch"] % 4 == 0
    assert "step" in newest.name
