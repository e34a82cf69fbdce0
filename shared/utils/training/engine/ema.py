"""An exponential moving average of the weights, kept beside the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class WeightAverage(Protocol):
    """What the Trainer asks of an average of the weights."""

    def update(self) -> None:
        """Take in the weights after an optimizer step."""

    def applied(self) -> Any:
        """Context in which the model holds the average."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""


class ExponentialMovingAverage:
    """Averages every floating-point parameter and buffer in one fused call a step.

    The decay rises as min(decay, (1 + n) / (10 + n)) over the first steps n, as in TensorFlow's
    ``ExponentialMovingAverage``, so that a short run does not carry its random start along.

    Args:
        model: whose weights are averaged; it is changed only inside :meth:`applied`.
        decay: share of the old average that a step keeps, between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._names, self._weights = _floating_tensors(model)
        self._averages = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        torch._foreach_lerp_(_own_parts(self._averages), _own_parts(self._weights), 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights, and its own ones back at the end."""
        with torch.no_grad():
            own = [weight.detach().clone() for weight in self._weights]
        self.copy_to_model()
        try:
            yield
        finally:
            _copy(self._weights, own)

    def copy_to_model(self) -> None:
        """Leave the averaged weights in the model."""
        _copy(self._weights, self._averages)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages by their names in the model, and the number of updates."""
        averages = dict(zip(self._names, self._averages, strict=True))
        return {"num_updates": self.num_updates, "averages": averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            ValueError: the state belongs to a model with other tensors.
        """
        averages = state["averages"]
        if set(averages) != set(self._names):
            odd = sorted(set(averages) ^ set(self._names))
            raise ValueError(
                f"The averaged weights and the model differ in {odd[:5]}; "
                "resume with the model that was saved."
            )
        self.num_updates = state["num_updates"]
        _copy(self._averages, [averages[name] for name in self._names])


class NoAverage:
    """No average is kept; the model's own weights stand for it."""

    def update(self) -> None:
        """Keep nothing."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Leave the model as it is."""
        yield

    def copy_to_model(self) -> None:
        """Leave the model as it is."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Ignore a former run's average."""


def _floating_tensors(model: nn.Module) -> tuple[list[str], list[Tensor]]:
    named = [*model.named_parameters(), *model.named_buffers()]
    floating = [(name, tensor) for name, tensor in named if tensor.is_floating_point()]
    return [name for name, _ in floating], [tensor for _, tensor in floating]


@torch.no_grad()
def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    torch._foreach_copy_(_own_parts(targets), _own_parts(sources))


def _own_parts(tensors: list[Tensor]) -> list[Tensor]:
    """Return this rank's parts of sharded tensors, since those know not every fused operation."""
    return [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
