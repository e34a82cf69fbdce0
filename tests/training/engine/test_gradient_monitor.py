"""Gradient health: what is called healthy, what counts towards the halt, what is logged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from utils.training.engine.gradient_monitor import (
    GradientHealth,
    GradientInstabilityError,
    GradientMonitor,
    check_gradient_health,
)
from utils.training.errors import TrainingError


def model_with(**gradients):
    """A model whose layers have these values as their weights' gradients."""
    model = nn.ModuleDict({name: nn.Linear(2, 1, bias=False) for name in gradients})
    for name, values in gradients.items():
        if values is not None:
            model[name].weight.grad = torch.tensor([values])
    return model


FINE = [0.3, 0.4]
BROKEN = [math.nan, 0.0]


def test_healthy_gradients():
    health = GradientMonitor().check_gradients(model_with(a=FINE, b=[0.0, 1.0]))
    assert health.is_healthy
    assert health.is_finite
    assert (health.min_norm, health.max_norm) == pytest.approx((0.5, 1.0))
    assert str(health) == "✓ Healthy (norm: 5.00e-01 - 1.00e+00)"


def test_every_kind_of_fault_is_found_and_said():
    model = model_with(
        nan=BROKEN, inf=[math.inf, 0.0], tiny=[1e-8, 0.0], huge=[11.0, 0.0], fine=FINE
    )
    health = GradientMonitor().check_gradients(model)
    assert (health.has_nan, health.has_inf, health.is_healthy) == (True, True, False)
    assert health.affected_layers == ["nan (NaN)", "inf (Inf)"]
    assert health.vanishing_layers == ["tiny"]
    assert health.exploding_layers == ["huge"]
    assert (health.max_norm, health.min_norm) == (math.inf, pytest.approx(1e-8))
    assert str(health) == (
        "⚠️ Issues: NaN in 1 layers, Inf in 1 layers, Vanishing in 1 layers, Exploding in 1 layers"
    )


def test_a_norm_at_a_threshold_is_healthy():
    monitor = GradientMonitor(vanishing_threshold=0.5, explosion_threshold=5.0)
    assert monitor.check_gradients(model_with(a=FINE, b=[3.0, 4.0])).is_healthy


def test_parameters_without_a_gradient_are_left_out():
    health = GradientMonitor().check_gradients(model_with(frozen=None, used=FINE))
    assert health.is_healthy
    assert health.min_norm == pytest.approx(0.5)


def test_a_model_without_any_gradient_is_healthy_at_0():
    monitor = GradientMonitor()
    health = monitor.check_gradients(nn.Linear(2, 1))
    assert (health.is_healthy, health.min_norm, health.max_norm) == (True, 0.0, 0.0)
    assert monitor.compute_gradient_norm(nn.Linear(2, 1)) == 0.0


def test_a_finite_gradient_beyond_float32_squares_is_exploding_and_not_inf():
    health = GradientMonitor().check_gradients(model_with(a=[3e19, 0.0]))
    assert (health.has_inf, health.exploding_layers) == (False, ["a"])
    assert health.max_norm == pytest.approx(3e19)


def test_weights_and_biases_are_told_apart():
    model = nn.Sequential(nn.Linear(1, 1))
    model[0].weight.grad = torch.tensor([[math.nan]])
    model[0].bias.grad = torch.tensor([math.inf])
    health = check_gradient_health(model)
    assert health.affected_layers == ["0 (NaN)", "0.bias (Inf)"]


class TestTheHalt:
    def test_the_nth_nan_in_a_row_raises_with_remedies(self):
        monitor = GradientMonitor(max_consecutive_failures=3)
        model = model_with(a=BROKEN)
        monitor.check_gradients(model)
        monitor.check_gradients(model)
        with pytest.raises(RuntimeError, match="3 consecutive") as error:
            monitor.check_gradients(model)
        assert isinstance(error.value, GradientInstabilityError)
        assert isinstance(error.value, TrainingError)
        assert "NaN=True, Inf=False" in str(error.value)
        assert "'a (NaN)'" in str(error.value)
        assert "learning rate" in str(error.value)

    def test_a_long_list_of_layers_is_cut_short(self):
        model = model_with(**{f"layer{place}": BROKEN for place in range(8)})
        with pytest.raises(RuntimeError, match=r"'layer4 \(NaN\)', 3 more\]"):
            GradientMonitor(max_consecutive_failures=1).check_gradients(model)

    def test_a_finite_check_resets_the_count_even_when_unhealthy(self):
        monitor = GradientMonitor(max_consecutive_failures=2)
        for values in (BROKEN, [100.0, 0.0], BROKEN, FINE, BROKEN):
            monitor.check_gradients(model_with(a=values))
        assert monitor.consecutive_failures == 1

    def test_vanishing_and_exploding_never_halt(self):
        monitor = GradientMonitor(max_consecutive_failures=1)
        for _ in range(5):
            assert not monitor.check_gradients(model_with(a=[1e9, 0.0], b=[0.0, 0.0])).is_healthy

    def test_resetting_forgets_failures(self):
        monitor = GradientMonitor(max_consecutive_failures=2)
        for _ in range(4):
            monitor.check_gradients(model_with(a=BROKEN))
            monitor.reset_failure_counts()

    def test_the_function_never_raises_for_what_it_finds(self):
        for _ in range(5):
            assert check_gradient_health(model_with(a=BROKEN)).has_nan


class TestDistribution:
    class Tracker:
        def __init__(self):
            self.scalars = {}
            self.histograms = {}

        def log_scalar(self, name, value, step=None):
            self.scalars[name, step] = value

        def log_histogram(self, name, values, step=None):
            self.histograms[name, step] = values

    def test_norms_are_logged_by_layer(self):
        tracker = self.Tracker()
        GradientMonitor().log_gradient_distribution(model_with(a=FINE, b=None), tracker, step=7)
        assert tracker.scalars == {("gradients/a/norm", 7): pytest.approx(0.5)}
        assert not tracker.histograms

    def test_the_histogram_samples_evenly_within_its_limit(self):
        model = nn.ModuleList([nn.Linear(50, 20, bias=False), nn.Linear(10, 10, bias=False)])
        model[0].weight.grad = torch.full((20, 50), 1.0)
        model[1].weight.grad = torch.full((10, 10), 2.0)
        tracker = self.Tracker()
        monitor = GradientMonitor(log_histogram=True, max_histogram_samples=110)
        monitor.log_gradient_distribution(model, tracker, step=1)
        values = tracker.histograms["gradients/distribution", 1]
        assert len(values) == 110
        assert np.count_nonzero(values == 2.0) == 10

    def test_the_histogram_holds_finite_values_of_dense_and_sparse_gradients(self):
        embedding = nn.Embedding(10, 2, sparse=True)
        embedding(torch.tensor([3])).sum().backward()
        model = nn.ModuleList([embedding, nn.Linear(2, 1, bias=False)])
        model[1].weight.grad = torch.tensor([BROKEN])
        tracker = self.Tracker()
        GradientMonitor(log_histogram=True).log_gradient_distribution(model, tracker)
        assert sorted(tracker.histograms["gradients/distribution", None]) == [0.0, 1.0, 1.0]

    def test_without_gradients_the_histogram_is_empty(self):
        tracker = self.Tracker()
        GradientMonitor(log_histogram=True).log_gradient_distribution(nn.Linear(1, 1), tracker)
        assert len(tracker.histograms["gradients/distribution", None]) == 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"vanishing_threshold": -1.0}, "vanishing_threshold is -1.0"),
        ({"explosion_threshold": math.nan}, "explosion_threshold is nan"),
        ({"explosion_threshold": "10"}, "explosion_threshold is '10'"),
        ({"vanishing_threshold": 20.0}, "must not be above"),
        ({"max_consecutive_failures": 0}, "max_consecutive_failures is 0"),
        ({"max_histogram_samples": 1.5}, "max_histogram_samples is 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        GradientMonitor(**arguments)


def test_health_can_be_written_down_and_compared():
    health = GradientHealth(
        has_nan=False,
        has_inf=False,
        max_norm=1.0,
        min_norm=1.0,
        affected_layers=[],
        is_healthy=True,
        vanishing_layers=[],
        exploding_layers=[],
    )
    assert health == check_gradient_health(model_with(a=[1.0, 0.0]))
