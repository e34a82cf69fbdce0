"""Checkpoints of a 50 M-parameter model with its AdamW state, against torch.save and torch.load.

Training goes on during a background save: what counts is the time the loop stands still, and what
its steps take longer until the file is on disk. That is the time of all steps meanwhile, less the
time of equally many without a save, taken right before and right after: single steps vary by a
fifth, and a difference of two sums of the same length is off to neither side. Beside it stands what
no engine can avoid: a thread that does nothing but write as many bytes past the page cache.

A load starts with nothing in the page cache, as after a restart, and counts until model and
optimizer hold the state and each value was touched, for a mapped file is read no sooner; its pages
are copied when the first step writes to them, which the last figure counts in.
"""

from __future__ import annotations

import gc
import mmap
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.figures import Figure
from utils.training.engine import CheckpointManager

NUM_SAVES = 16
NUM_LOADS = 7
NUM_FIRST_STEPS = 12
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
    bare_write: list[float] = field(default_factory=list)
    blocking_save: list[float] = field(default_factory=list)
    plain_load: list[float] = field(default_factory=list)
    verified_load: list[float] = field(default_factory=list)
    plain_load_and_write: list[float] = field(default_factory=list)
    verified_load_and_write: list[float] = field(default_factory=list)

    def disturbance(self) -> list[float]:
        """What each background save cost the training."""
        return [a + b for a, b in zip(self.stall, self.slow_down, strict=True)]


class BareWriter:
    """Writes as many bytes as a state has from memory that is kept, and does nothing else."""

    def __init__(self, path: Path, num_bytes: int) -> None:
        self._path = path
        self._block = mmap.mmap(-1, num_bytes)
        self._block.madvise(mmap.MADV_HUGEPAGE)
        np.frombuffer(self._block, dtype=np.uint8).fill(1)
        self._thread = threading.Thread()

    def start(self) -> None:
        """Begin to write, in a thread."""
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def is_writing(self) -> bool:
        """True until the file is on disk."""
        return self._thread.is_alive()

    def _write(self) -> None:
        self._path.unlink(missing_ok=True)
        file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
        try:
            rest = memoryview(self._block)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)


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
        _measure_saves(folder, manager, subject, seconds)
        for _ in range(NUM_LOADS):
            _measure_loads(folder / "plain.pt", manager, subject, seconds)
    save = f"torch.save, {statistics.median(seconds.plain_save):.3f} s"
    load = f"torch.load, {statistics.median(seconds.plain_load):.3f} s"
    return [
        _figure(
            "background save: stall and slow-down",
            seconds.disturbance(),
            seconds.plain_save,
            save,
            at_most=0.3,
        ),
        _figure("  of that, the stall", seconds.stall, seconds.plain_save, save),
        _figure("  slow-down by a bare write", seconds.bare_write, seconds.plain_save, save),
        _figure("blocking save (fsynced, atomic)", seconds.blocking_save, seconds.plain_save, save),
        _figure("verified load", seconds.verified_load, seconds.plain_load, load, at_most=1.0),
        _figure(
            "  and the first write to each moment",
            seconds.verified_load_and_write,
            seconds.plain_load_and_write,
            load,
        ),
        Figure(
            "peak memory of background saves",
            copies,
            unit="copies",
            at_most=1.02,  # the interpreter's own growth beside one copy
            against=f"the state, {subject.num_bytes() / 2**20:.0f} MiB",
        ),
    ]


def _figure(
    what: str,
    ours: list[float],
    theirs: list[float],
    against: str,
    at_most: float | None = None,
) -> Figure:
    """Ratio of the medians; the rounds' middle half says how sure it is."""
    unit = statistics.median(theirs)
    low, middle, high = (quartile / unit for quartile in statistics.quantiles(ours, n=4))
    spread = f"{against}; half of the rounds {low:.2f} to {high:.2f}"
    return Figure(what, middle, at_most=at_most, against=spread)


def _measure_saves(
    folder: Path, manager: CheckpointManager, subject: Subject, seconds: Seconds
) -> None:
    plain = folder / "plain.pt"
    writer = BareWriter(folder / "bare", subject.num_bytes())
    calm = _timed_steps(subject, NUM_FIRST_STEPS) / NUM_FIRST_STEPS
    for _ in range(NUM_SAVES):
        plain.unlink(missing_ok=True)
        seconds.plain_save.append(_timed(lambda: torch.save(_state(subject), plain)))
        seconds.stall.append(_timed(lambda: _save(manager, subject, blocking=False)))
        slow_down, calm = _slow_down(subject, lambda: manager.is_saving, calm)
        seconds.slow_down.append(slow_down)
        writer.start()
        slow_down, calm = _slow_down(subject, writer.is_writing, calm)
        seconds.bare_write.append(slow_down)


def _slow_down(
    subject: Subject, is_disturbed: Callable[[], bool], calm_before: float
) -> tuple[float, float]:
    """What the steps take longer while they are disturbed, and a step's time after it."""
    num_steps, start = 0, time.perf_counter()
    while is_disturbed():
        subject.step()
        num_steps += 1
    disturbed = time.perf_counter() - start
    calm_after = _timed_steps(subject, num_steps) / num_steps
    return disturbed - num_steps * (calm_before + calm_after) / 2, calm_after


def _measure_loads(
    plain: Path, manager: CheckpointManager, subject: Subject, seconds: Seconds
) -> None:
    seconds.blocking_save.append(_timed(lambda: _save(manager, subject, blocking=True)))
    _forget(plain)
    seconds.plain_load.append(
        _timed(lambda: subject.take(torch.load(plain, map_location="cpu", weights_only=True)))
    )
    seconds.plain_load_and_write.append(seconds.plain_load[-1] + _timed(subject.write))
    _forget(*manager.checkpoint_dir.glob("*.pt"))
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


def _timed_steps(subject: Subject, num_steps: int) -> float:
    start = time.perf_counter()
    for _ in range(num_steps):
        subject.step()
    return time.perf_counter() - start


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
