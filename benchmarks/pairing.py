"""Timing runners in turns of a few steps, so that each meets the same noise of the machine."""

from __future__ import annotations

import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.workloads import Job, Workload, run_by_hand

NUM_WARMUP_TURNS = 3  # what is imported on the way, is by then


@dataclass(frozen=True)
class Turns:
    """How steps are dealt out; the first of a turn meet cold caches, and don't count."""

    num_turns: int
    num_steps: int
    num_cold_steps: int


TURNS = {
    ("MLP", 1): Turns(60, 20, 5),
    ("MLP", 4): Turns(50, 10, 2),
    ("GPT-2", 1): Turns(30, 4, 1),
    ("GPT-2", 4): Turns(12, 3, 1),
}
BY_HAND = "by hand"

Runner = Callable[[Job], None]


class Relay:
    """Lets several training loops take turns, each in a thread of its own; one runs at a time.

    The process's CPU time over a turn is its runner's, helper threads included, for all others
    wait.
    """

    def __init__(self, names: list[str], turns: Turns) -> None:
        self._turns = turns
        self.seconds: dict[str, list[float]] = {name: [] for name in names}  # a step's mean a turn
        self._ring = list(names)
        self._turn = names[0]
        self._changed = threading.Condition()
        self._stamps: list[float] = []
        self._errors: list[BaseException] = []

    def run(self, runners: Mapping[str, Callable[[], None]]) -> None:
        """Run all to their ends.

        Raises:
            whatever a runner raised first.
        """
        threads = [
            threading.Thread(target=self._run_one, name=name, args=(runner,))
            for name, runner in runners.items()
        ]
        with self._listening():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _run_one(self, runner: Callable[[], None]) -> None:
        torch.set_num_threads(1)  # a setting of each thread
        self._await_turn()
        try:
            runner()
        except BaseException as error:  # noqa: BLE001 - raised again where all have ended
            self._errors.append(error)
        with self._changed:
            self._pass_on()
            self._ring.remove(threading.current_thread().name)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        handle = register_optimizer_step_post_hook(self._note_step)
        try:
            yield
        finally:
            handle.remove()

    def _note_step(self, *_: Any) -> None:
        self._stamps.append(time.process_time())
        if len(self._stamps) < self._turns.num_steps:
            return
        counted = self._stamps[self._turns.num_cold_steps - 1 :]
        mean = (counted[-1] - counted[0]) / (len(counted) - 1)
        self.seconds[threading.current_thread().name].append(mean)
        with self._changed:
            self._pass_on()
        self._await_turn()

    def _pass_on(self) -> None:
        place = self._ring.index(threading.current_thread().name)
        self._turn = self._ring[(place + 1) % len(self._ring)]
        self._changed.notify_all()

    def _await_turn(self) -> None:
        name = threading.current_thread().name
        with self._changed:
            self._changed.wait_for(lambda: self._turn == name)
        self._stamps = []


def paired(
    runners: Mapping[str, Runner],
    workload: Workload,
    accumulation_steps: int,
    *,
    is_logging: bool = False,
) -> dict[str, tuple[float, float]]:
    """Time each runner against the hand-written loop, turn by turn.

    Returns:
        By name, the medians over turns of its CPU time a step as a ratio to the hand-written
        loop's, and of the difference in milliseconds.
    """
    seconds = timed({BY_HAND: run_by_hand, **runners}, workload, accumulation_steps, is_logging)
    by_hand = seconds.pop(BY_HAND)
    return {name: compare(own, by_hand) for name, own in seconds.items()}


def timed(
    runners: Mapping[str, Runner], workload: Workload, accumulation_steps: int, is_logging: bool
) -> dict[str, list[float]]:
    """Return each runner's CPU seconds a step, turn by turn."""
    turns = TURNS[workload.name, accumulation_steps]
    num_steps = turns.num_steps * (turns.num_turns + NUM_WARMUP_TURNS)
    relay = Relay(list(runners), turns)
    logging.getLogger("utils.training").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        jobs = {
            name: Job(workload, num_steps, accumulation_steps, is_logging, Path(folder, str(place)))
            for place, name in enumerate(runners)
        }
        relay.run({name: partial(runner, jobs[name]) for name, runner in runners.items()})
    return {name: turns[NUM_WARMUP_TURNS:] for name, turns in relay.seconds.items()}


def compare(own: list[float], base: list[float]) -> tuple[float, float]:
    """Return the median ratio, and the median difference in milliseconds."""
    pairs = list(zip(own, base, strict=False))  # a peer may take a step more at its end
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return ratio, 1e3 * statistics.median(mine - theirs for mine, theirs in pairs)
