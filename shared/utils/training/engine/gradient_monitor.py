"""Watches gradients over time: when to halt, and how they are distributed."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from utils.training.arguments import is_whole, require_methods
from utils.training.engine.gradient_health import GradientHealth, assess
from utils.training.engine.gradient_norms import GradientNorms, measure_model
from utils.training.errors import InvalidConfigError, TrainingError

__all__ = [
    "GradientHealth",
    "GradientInstabilityError",
    "GradientMonitor",
    "ScalarTracker",
    "check_gradient_health",
]

_MOST_LAYERS_NAMED = 5
_REMEDIES = """Remediation steps:
1. A learning rate of a tenth, or a longer warm-up
2. Clipping by a smaller max_grad_norm, such as 1.0
3. A look at the loss for log(0), 0/0 or a square root at 0
4. A look at the batches named in the log for NaN, Inf or values far out of range
5. bf16 in place of fp16, or no mixed precision at all"""


class GradientInstabilityError(TrainingError, RuntimeError):
    """Gradients were NaN or Inf too often in a row."""


class ScalarTracker(Protocol):
    """What gradient distributions are logged to."""

    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """Record one value."""

    def log_histogram(self, name: str, values: Any, step: int | None = None) -> None:
        """Record how values [n] are distributed."""


class GradientMonitor:
    """Judges gradients and halts training that stays unstable.

    Args:
        vanishing_threshold: a layer's norm below it is vanishing.
        explosion_threshold: a layer's norm above it is exploding.
        max_consecutive_failures: as many checks with NaN or Inf in a row raise.
        log_histogram: whether :meth:`log_gradient_distribution` logs a histogram too.
        max_histogram_samples: the most gradient values in a histogram.

    Raises:
        InvalidConfigError: a ValueError that names every argument out of range.
    """

    def __init__(
        self,
        vanishing_threshold: float = 1e-7,
        explosion_threshold: float = 10.0,
        max_consecutive_failures: int = 3,
        log_histogram: bool = False,
        max_histogram_samples: int = 200_000,
    ) -> None:
        _refuse(
            _threshold_faults(vanishing_threshold, explosion_threshold)
            + _count_fault("max_consecutive_failures", max_consecutive_failures)
            + _count_fault("max_histogram_samples", max_histogram_samples)
        )
        self.vanishing_threshold = vanishing_threshold
        self.explosion_threshold = explosion_threshold
        self.max_consecutive_failures = max_consecutive_failures
        self.log_histogram = log_histogram
        self.max_histogram_samples = max_histogram_samples
        self.consecutive_failures = 0

    def check_gradients(self, model: nn.Module) -> GradientHealth:
        """Judge a model's gradients after backward; one device synchronisation.

        Parameters without a gradient (frozen, unused) are left out.

        Raises:
            GradientInstabilityError: a RuntimeError; NaN or Inf for the
                ``max_consecutive_failures``-th time in a row.
        """
        return self.judge(measure_model(model))

    def judge(self, norms: GradientNorms) -> GradientHealth:
        """Judge gradients that are measured already, counting NaN and Inf towards the halt.

        Raises:
            GradientInstabilityError: a RuntimeError, as :meth:`check_gradients` does.
        """
        health = self.assess(norms)
        if health.is_finite:
            self.consecutive_failures = 0
            return health
        self.consecutive_failures += 1
        if self.consecutive_failures >= self.max_consecutive_failures:
            raise GradientInstabilityError(self._halt_message(health))
        return health

    def assess(self, norms: GradientNorms) -> GradientHealth:
        """Say how measured gradients are, counting nothing."""
        return assess(norms, self.vanishing_threshold, self.explosion_threshold)

    def _halt_message(self, health: GradientHealth) -> str:
        layers = health.affected_layers
        more = len(layers) - _MOST_LAYERS_NAMED
        shown = [*map(repr, layers[:_MOST_LAYERS_NAMED]), *([f"{more} more"] if more > 0 else [])]
        return (
            f"Training unstable: {self.consecutive_failures} consecutive gradient failures. "
            f"Issues: NaN={health.has_nan}, Inf={health.has_inf}\n"
            f"Affected layers: [{', '.join(shown)}]\n\n{_REMEDIES}"
        )

    def compute_gradient_norm(self, model: nn.Module) -> float:
        """Return sqrt(sum of squared L2 norms) over all gradients, 0.0 where there are none."""
        return measure_model(model).total

    def log_gradient_distribution(
        self, model: nn.Module, tracker: ScalarTracker, step: int | None = None
    ) -> None:
        """Log each layer's norm, and a histogram of gradient values where that is switched on.

        Args:
            model: after its backward pass.
            tracker: a :class:`~utils.training.engine.MetricsEngine`, or anything with its
                ``log_scalar`` and ``log_histogram``.
            step: of the optimizer.

        Raises:
            WrongTypeError: a TypeError; one is no model, or no tracker.
        """
        methods = ["log_scalar", *(["log_histogram"] if self.log_histogram else [])]
        allowed = f"a MetricsEngine, or an object with {' and '.join(methods)}"
        require_methods("tracker", tracker, methods, allowed)
        measured = measure_model(model)
        for name, norm in zip(measured.names, measured.norms, strict=True):
            tracker.log_scalar(f"gradients/{name}/norm", norm, step=step)
        if self.log_histogram:
            values = sample_gradients(model, self.max_histogram_samples)
            tracker.log_histogram("gradients/distribution", values, step=step)

    def reset_failure_counts(self) -> None:
        """Forget the failures in a row, as after a remedy or a resume."""
        self.consecutive_failures = 0


def check_gradient_health(
    model: nn.Module, vanishing_threshold: float = 1e-7, explosion_threshold: float = 10.0
) -> GradientHealth:
    """Judge a model's gradients once; it counts nothing and never halts.

    Raises:
        InvalidConfigError: a ValueError; a threshold is out of range.
    """
    _refuse(_threshold_faults(vanishing_threshold, explosion_threshold))
    return assess(measure_model(model), vanishing_threshold, explosion_threshold)


def sample_gradients(model: nn.Module, max_samples: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return at most ``max_samples`` finite gradient values [n], evenly spread over all of them."""
    gradients = [p.grad.detach() for p in model.parameters() if p.grad is not None]
    if not gradients:
        return np.empty(0, dtype=np.float32)
    stride = math.ceil(sum(gradient.numel() for gradient in gradients) / max_samples)
    home = gradients[0].device
    picked = [_every(stride, gradient).to(home, torch.float32) for gradient in gradients]
    values = torch.cat(picked)[:max_samples].cpu().numpy()
    return values[np.isfinite(values)]


def _every(stride: int, gradient: Tensor) -> Tensor:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return values.reshape(-1)[::stride]


def _threshold_faults(vanishing: float, explosion: float) -> list[str]:
    faults = [
        f"{name} is {value!r}, allowed is a number from 0 up."
        for name, value in (("vanishing_threshold", vanishing), ("explosion_threshold", explosion))
        if not isinstance(value, int | float) or not value >= 0
    ]
    if not faults and vanishing > explosion:
        faults.append(
            f"vanishing_threshold is {vanishing} and explosion_threshold is {explosion}; "
            "the first must not be above the second."
        )
    return faults


def _count_fault(name: str, value: int) -> list[str]:
    if is_whole(value, 1):
        return []
    return [f"{name} is {value!r}, allowed is a whole number from 1 up."]


def _refuse(faults: list[str]) -> None:
    if faults:
        raise InvalidConfigError(faults)
