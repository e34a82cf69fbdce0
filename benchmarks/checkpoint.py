"""Checkpoints of a 50 M-parameter model with its AdamW state, against torch.save and torch.load.

Training goes on during a background save: what counts is the time the loop stands still, and what
its steps take longer until the file is on disk. A load starts with nothing in the page cache, as
after a restart, and counts until model and optimizer hold the state and each value was touched, for
a mapped file is read no sooner; its pages are copied when the first step writes to them, which the
last figure counts in.
"""

from __future__ import annotations

import gc
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.figures import Figure
from utils.training.engine import CheckpointManager

NUM_ROUNDS = 9
NUM_BASE_STEPS = 6
VOCABULARY = 24_000


class Subject:
    """A GPT-2 of 50 M parameters whose optimizer holds two moments for each."""

    def __init__(self) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        torch.manual_seed(0)
        shape = {"n_positions": 256, "n_embd": 512, "n_layer": 12, "n_head": 8}
        self.model: nn.Module = GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **shape)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.num_saves = 0
        self.step()

    def step(self) -> None:
        """Train on 32 tokens."""
        tokens = torch.randint(0, VOCABULARY, (1, 32))
        self.model(input_ids=tokens, labels=tokens).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def moments(self) -> list[torch.Tensor]:
        """Both moments of every parameter."""
        return [
            s[name] for s in self.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")
        ]

    def num_bytes(self) -> int:
        """Size of the parameters and moments."""
        tensors = [*self.model.parameters(), *self.moments()]
        return sum(tensor.nbytes for tensor in tensors)

    def take(self, state: dict[str, Any]) -> None:
        """Go on from a loaded state, and touch each of its values."""
        self.model.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        for tensor in self.moments():
            tensor.max()

    def write(self) -> None:
        """Write to each moment in place."""
        torch._foreach_mul_(self.moments(), 1.0)


@dataclass
class Seconds:
    """Every round's times, in seconds."""

    plain_save: list[float] = field(default_factory=list)
    stall: list[float] = field(default_factory=list)
    slow_down: list[float] = field(default_factory=list)
    blocking_save: list[float] = field(default_factory=list)
    plain_load: list[float] = field(default_factory=list)
    verified_load: list[float] = field(default_factory=list)
    plain_load_and_write: list[float] = field(default_factory=list)
    verified_load_and_write: list[float] = field(default_factory=list)

    def ratio(self, numerator: list[float], denominator: list[float]) -> float:
        """Median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def run() -> list[Figure]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(Path(folder))
    finally:
        torch.set_num_threads(num_threads)


def _measure(folder: Path) -> list[Figure]:
    subject, seconds = Subject(), Seconds()
    with CheckpointManager(folder / "kept", keep_best_k=0, keep_last_n=2) as manager:
        copies = _copies_in_memory(manager, subject)  # this also warms the buffers up
        for _ in range(NUM_ROUNDS):
            _measure_round(folder, manager, subject, seconds)
    disturbance = [a + b for a, b in zip(seconds.stall, seconds.slow_down, strict=True)]
    save = f"torch.save, {statistics.median(seconds.plain_save):.3f} s"
    load = f"torch.load, {statistics.median(seconds.plain_load):.3f} s"
    return [
        Figure(
            "background save: stall and slow-down",
            seconds.ratio(disturbance, seconds.plain_save),
            at_most=0.3,
            against=save,
        ),
        Figure(
            "  of that, the stall",
            seconds.ratio(seconds.stall, seconds.plain_save),
            against=save,
        ),
        Figure(
            "blocking save (fsynced, atomic)",
            seconds.ratio(seconds.blocking_save, seconds.plain_save),
            against=save,
        ),
        Figure(
            "verified load",
            seconds.ratio(seconds.verified_load, seconds.plain_load),
            at_most=1.0,
            against=load,
        ),
        Figure(
            "  and the first write to each moment",
            seconds.ratio(seconds.verified_load_and_write, seconds.plain_load_and_write),
            against=load,
        ),
        Figure(
            "peak memory of background saves",
            copies,
            unit="copies",
            at_most=1.02,  # the interpreter's own growth beside one copy
            against=f"the state, {subject.num_bytes() / 2**20:.0f} MiB",
        ),
    ]


def _measure_round(
    folder: Path, manager: CheckpointManager, subject: Subject, seconds: Seconds
) -> None:
    plain = folder / "plain.pt"
    plain.unlink(missing_ok=True)
    seconds.plain_save.append(_timed(lambda: torch.save(_state(subject), plain)))
    base = _undisturbed(subject)
    seconds.stall.append(_timed(lambda: _save(manager, subject, blocking=False)))
    num_steps, disturbed = _steps_while_saving(manager, subject)
    base = statistics.median(base + _undisturbed(subject))
    seconds.slow_down.append(disturbed - num_steps * base)
    seconds.blocking_save.append(_timed(lambda: _save(manager, subject, blocking=True)))
    _forget(plain)
    seconds.plain_load.append(
        _timed(lambda: subject.take(torch.load(plain, map_location="cpu", weights_only=True)))
    )
    seconds.plain_load_and_write.append(seconds.plain_load[-1] + _timed(subject.write))
    _forget(*folder.glob("kept/*.pt"))
    seconds.verified_load.append(_timed(lambda: subject.take(manager.load())))
    seconds.verified_load_and_write.append(seconds.verified_load[-1] + _timed(subject.write))


def _timed(call: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _forget(*paths: Path) -> None:
    """Drop files from the page cache; they are on disk by then."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _state(subject: Subject) -> dict[str, Any]:
    return {
        "model_state_dict": subject.model.state_dict(),
        "optimizer_state_dict": subject.optimizer.state_dict(),
    }


def _save(manager: CheckpointManager, subject: Subject, *, blocking: bool) -> Path:
    epoch = subject.num_saves = subject.num_saves + 1
    return manager.save(
        subject.model, subject.optimizer, None, epoch, {"val_loss": 0.0}, blocking=blocking
    )


def _undisturbed(subject: Subject) -> list[float]:
    return [_timed(subject.step) for _ in range(NUM_BASE_STEPS)]


def _steps_while_saving(manager: CheckpointManager, subject: Subject) -> tuple[int, float]:
    """How many steps ran until the file was on disk, and the seconds that they took."""
    num_steps, start = 0, time.perf_counter()
    while manager.is_saving:
        subject.step()
        num_steps += 1
    return num_steps, time.perf_counter() - start


def _copies_in_memory(manager: CheckpointManager, subject: Subject) -> float:
    """Highest growth of resident memory over three background saves, in sizes of the state."""
    subject.step()  # gradients and activations have been there once
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the old peak
    before = _memory_bytes("VmRSS")
    for _ in range(3):
        _save(manager, subject, blocking=False)
        while manager.is_saving:
            time.sleep(0.01)
    return (_memory_bytes("VmHWM") - before) / subject.num_bytes()


def _memory_bytes(entry: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(rf"{entry}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024
