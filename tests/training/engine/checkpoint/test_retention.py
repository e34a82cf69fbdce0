"""What is kept, against a simple model of the policy."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from utils.training.engine.checkpoint.retention import (
    StoredCheckpoint,
    best_first,
    newest_first,
    surplus,
)

values = st.one_of(st.integers(-3, 3).map(float), st.just(math.nan), st.just(math.inf))


@st.composite
def folders(draw):
    checkpoints = []
    for epoch in draw(st.lists(st.integers(0, 30), unique=True, max_size=12)):
        kinds = draw(st.sampled_from([(False,), (True,), (True, False)]))
        checkpoints.extend(
            StoredCheckpoint(
                path=Path(f"{epoch}-{is_step}"),
                epoch=epoch,
                global_step=epoch * 10 + (5 if is_step else 10),
                is_step=is_step,
                value=math.nan if is_step else draw(values),
                metadata={},
            )
            for is_step in kinds
        )
    return draw(st.permutations(checkpoints))


def is_better(a, b, mode):
    if a.value != b.value:
        return a.value < b.value if mode == "min" else a.value > b.value
    return a.epoch > b.epoch


@given(folders(), st.integers(0, 4), st.integers(1, 4), st.sampled_from(["min", "max"]))
def test_exactly_the_union_of_best_last_and_newest_stays(stored, keep_best_k, keep_last_n, mode):
    deleted = {c.path for c in surplus(stored, keep_best_k, keep_last_n, mode)}

    epochs = [c for c in stored if not c.is_step]
    for checkpoint in stored:
        num_newer = sum(other.global_step > checkpoint.global_step for other in stored)
        num_newer_epochs = sum(other.epoch > checkpoint.epoch for other in epochs)
        num_better = sum(
            is_better(other, checkpoint, mode)
            for other in epochs
            if not math.isnan(other.value) and other is not checkpoint
        )
        is_last = not checkpoint.is_step and num_newer_epochs < keep_last_n
        is_ranked = not checkpoint.is_step and not math.isnan(checkpoint.value)
        is_best = is_ranked and num_better < keep_best_k
        assert (checkpoint.path not in deleted) == (num_newer == 0 or is_last or is_best)


@given(folders(), st.sampled_from(["min", "max"]))
def test_best_is_a_real_epoch_that_none_beats(stored, mode):
    ranked = best_first(stored, mode)

    assert all(not c.is_step and not math.isnan(c.value) for c in ranked)
    assert all(is_better(a, b, mode) for a, b in pairwise(ranked))


@given(folders())
def test_newest_first_follows_the_training(stored):
    steps = [c.global_step for c in newest_first(stored)]

    assert steps == sorted(steps, reverse=True)
