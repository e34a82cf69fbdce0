"""Early stopping: patience, the least change that counts, NaN."""

from __future__ import annotations

import math

import pytest

from utils.training.engine.early_stopping import EarlyStopping


def epochs_until_stop(stopping, values):
    for epoch, value in enumerate(values):
        stopping.update(value)
        if stopping.should_stop:
            return epoch
    return None


@pytest.mark.parametrize(
    ("patience", "min_delta", "mode", "values", "stops_at"),
    [
        (2, 0.0, "min", [1.0, 0.9, 0.9, 0.9, 0.1], 3),
        (2, 0.0, "min", [1.0, 1.1, 0.9, 1.0, 0.8], None),
        (1, 0.1, "min", [1.0, 0.95, 0.0], 1),
        (2, 0.0, "max", [0.1, 0.2, 0.2, 0.1], 3),
        (1, 0.0, "min", [1.0, math.nan], 1),
        (3, 0.0, "max", [math.nan, math.nan, 0.3, 0.2], None),
        (None, 0.0, "min", [1.0] * 50, None),
    ],
)
def test_it_stops_when_patience_runs_out(patience, min_delta, mode, values, stops_at):
    assert epochs_until_stop(EarlyStopping(patience, min_delta, mode), values) == stops_at


def test_small_gains_add_up_against_the_best_that_counted():
    stopping = EarlyStopping(patience=3, min_delta=0.1)
    assert epochs_until_stop(stopping, [1.0, 0.95, 0.89, 0.85, 0.78]) is None


def test_a_loaded_state_goes_on_counting():
    first = EarlyStopping(patience=2)
    first.update(1.0)
    first.update(1.0)
    second = EarlyStopping(patience=2)
    second.load_state_dict(first.state_dict())
    second.update(1.0)
    assert second.should_stop
