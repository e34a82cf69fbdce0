"""Data: what reproducible samples cost beside a plain DataLoader, and what resuming costs."""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.figures import Figure
from utils.training.engine.data import (
    DefaultCollator,
    LanguageModelingDataCollator,
    ResumableDataLoader,
    capture_epoch_start,
    iterate,
)

BATCH_SIZE = 32
NUM_BATCHES = 40
NUM_SAMPLES = BATCH_SIZE * NUM_BATCHES
NUM_REPEATS = 25
MICROSECONDS = 1e6


class Augmented:
    """An image-like sample that draws from the three generators."""

    def __init__(self) -> None:
        self.x = torch.rand(NUM_SAMPLES, 64)

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.x[index] * random.random() + torch.rand(64) * np.random.rand()  # noqa: NPY002


class AugmentedInBulk(Augmented):
    """The same, fetched a batch at once."""

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        x = self.x[indices]
        return list((x * random.random() + torch.rand_like(x) * np.random.rand()).unbind())  # noqa: NPY002


def cpu_seconds(loader: Iterable[Any]) -> float:
    start = time.process_time()
    for _ in loader:
        continue
    return time.process_time() - start


def pair(ours: Iterable[Any], plain: Iterable[Any]) -> tuple[float, float]:
    """Median CPU microseconds a batch of each, taken in turns."""
    runs = [(cpu_seconds(ours), cpu_seconds(plain)) for _ in range(NUM_REPEATS)]
    scale = MICROSECONDS / NUM_BATCHES
    own, other = (statistics.median(column) * scale for column in zip(*runs, strict=True))
    return own, other


def loaders(
    dataset: Any, collate: Callable[[Any], Any] | None = None
) -> tuple[ResumableDataLoader, DataLoader[Any]]:
    ours = ResumableDataLoader(dataset, BATCH_SIZE, shuffle=True, collate_fn=collate)
    return ours, DataLoader(dataset, BATCH_SIZE, shuffle=True, collate_fn=collate)


def keyed_figures() -> list[Figure]:
    """What the key of a sample, or of a batch, costs where the data may draw."""
    one, plain_one = pair(*loaders(Augmented()))
    bulk, plain_bulk = pair(*loaders(AugmentedInBulk()))
    return [
        Figure(
            "keyed sample over a plain one",
            (one - plain_one) / BATCH_SIZE,
            "us",
            at_most=12,
            against=f"plain DataLoader, {plain_one / BATCH_SIZE:.1f} us a sample",
        ),
        Figure(
            "keyed batch over a plain one",
            bulk - plain_bulk,
            "us",
            at_most=30,
            against=f"plain DataLoader, {plain_bulk:.0f} us a batch",
        ),
    ]


def at_rest_figures() -> list[Figure]:
    """Data that can't draw costs no key at all."""
    tensors = TensorDataset(torch.rand(NUM_SAMPLES, 16), torch.arange(NUM_SAMPLES))
    own, plain = pair(loaders(tensors, DefaultCollator())[0], loaders(tensors)[1])
    ids = torch.randint(1, 500, (NUM_SAMPLES, 64)).tolist()
    rows = datasets.Dataset.from_dict({"input_ids": ids})
    text, plain_text = pair(*loaders(rows, LanguageModelingDataCollator()))
    return [
        Figure(
            "tensors, a batch of 32",
            own / plain,
            at_most=0.5,
            against=f"plain DataLoader, {plain:.0f} us; ours {own:.0f} us",
        ),
        Figure(
            "Hugging Face tokens, a batch of 32",
            text / plain_text,
            at_most=1.05,
            against=f"plain DataLoader, {plain_text:.0f} us, same collator",
        ),
    ]


def resume_figures() -> list[Figure]:
    """The way to the epoch's last batch: by its number, and by replay."""
    ours, plain = loaders(Augmented())
    state = capture_epoch_start(plain)
    last = NUM_BATCHES - 1

    def seconds_to_last(loader: Iterable[Any]) -> float:
        start = time.process_time()
        next(iterate(loader, epoch=0, start_batch=last, epoch_start_rng=state))
        return time.process_time() - start

    logging.getLogger("utils").setLevel(logging.WARNING)
    runs = [(seconds_to_last(ours), seconds_to_last(plain)) for _ in range(NUM_REPEATS)]
    own, replay = (statistics.median(column) for column in zip(*runs, strict=True))
    return [
        Figure(
            f"resume at batch {last} of {NUM_BATCHES}",
            own / replay,
            at_most=0.15,
            against=f"replay of a plain DataLoader, {1e3 * replay:.1f} ms",
        )
    ]


def run() -> list[Figure]:
    torch.set_num_threads(1)
    return keyed_figures() + at_rest_figures() + resume_figures()
