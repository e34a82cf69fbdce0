"""Averaged weights: the formula, the swap, the state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from utils.training.engine.ema import ExponentialMovingAverage, NoAverage


def test_the_average_follows_its_formula():
    model = nn.Linear(2, 1, bias=False)
    average = ExponentialMovingAverage(model, decay=0.5)
    expected = model.weight.detach().clone()
    for step in range(1, 20):
        with torch.no_grad():
            model.weight.add_(1.0)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), expected)


def test_the_model_gets_its_own_weights_back_also_after_an_error():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    average = ExponentialMovingAverage(model, decay=0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update()
    own = {name: value.clone() for name, value in model.state_dict().items()}

    def fail():
        assert not torch.equal(model[0].weight, own["0.weight"])
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), average.applied():
        fail()
    for name, value in model.state_dict().items():
        assert torch.equal(value, own[name]), name


def test_running_statistics_are_averaged_and_counters_are_not():
    model = nn.BatchNorm1d(2)
    average = ExponentialMovingAverage(model, decay=0.5)
    assert set(average.state_dict()["averages"]) == {
        "weight",
        "bias",
        "running_mean",
        "running_var",
    }


def test_a_loaded_average_goes_on_bit_for_bit():
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    first = ExponentialMovingAverage(model, decay=0.9)
    first.update()
    second = ExponentialMovingAverage(nn.Linear(4, 4), decay=0.9)
    second._weights = first._weights
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        average.update()
    for one, other in zip(first._averages, second._averages, strict=True):
        assert torch.equal(one, other)


def test_the_state_of_another_model_is_refused():
    state = ExponentialMovingAverage(nn.Linear(2, 2), 0.9).state_dict()
    with pytest.raises(ValueError, match=r"differ in .*bias"):
        ExponentialMovingAverage(nn.Linear(2, 2, bias=False), 0.9).load_state_dict(state)


def test_copying_leaves_the_average_in_the_model():
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    average = ExponentialMovingAverage(model, 0.9)
    with torch.no_grad():
        model.weight.zero_()
    average.copy_to_model()
    assert torch.equal(model.weight, before)


def test_no_average_changes_nothing():
    average = NoAverage()
    average.update()
    with average.applied():
        average.copy_to_model()
    average.load_state_dict(average.state_dict())
    assert average.state_dict() == {}
