"""From a loss to an optimizer step: weighing, measuring, clipping, and skipping what is broken."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from utils.training.engine.accumulation_checks import (
    STATE_COUNTS,
    AccumulationError,
    item_count,
    lightning_steps,
    loss_fault,
    refuse_invalid_arguments,
    refuse_invalid_state,
)
from utils.training.engine.accumulation_window import AccumulationWindow, ItemCount
from utils.training.engine.gradient_health import GradientHealth
from utils.training.engine.gradient_monitor import GradientMonitor
from utils.training.engine.gradient_norms import GradientNorms, measure_gradients
from utils.training.engine.loss.terms import mean_of
from utils.training.engine.optimizer_parameters import OptimizerParameters

logger = logging.getLogger(__name__)

_CLIP_EPSILON = 1e-6  # as torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True)
class AccumulationStats:
    """Where accumulation stands.

    ``total_steps`` are backward passes, ``optimizer_steps`` real updates, ``skipped_steps`` those
    left out for NaN or Inf. ``last_grad_norm`` is of the window's mean gradient before clipping.
    """

    total_steps: int
    optimizer_steps: int
    current_accumulation: int
    effective_batch_size: int
    is_accumulating: bool
    last_grad_norm: float
    skipped_steps: int = 0


class GradientAccumulator:
    """Turns micro-batches into optimizer steps that equal those of one big batch.

    A window is ``accumulation_steps`` micro-batches, or fewer at the end of an epoch. At its end
    the gradients are unscaled, measured with the window's one device synchronisation, clipped and
    applied. A window with NaN or Inf is left out: weights, optimizer and step count stay as
    they were, and its gradients are dropped.

    Args:
        optimizer: whose parameters are measured, clipped and stepped.
        accumulation_steps: micro-batches in a window.
        max_grad_norm: clips the window's mean gradient; None: no clipping.
        scaler: a ``torch.amp.GradScaler`` for fp16.
        batch_size: samples in a micro-batch, for ``effective_batch_size``.
        trainer: a Lightning trainer; where it accumulates itself, this object leaves all to it.
        monitor: judges every window and halts training that stays unstable; None: a broken window
            is skipped with a warning, however often.

    Raises:
        InvalidConfigError: a ValueError that names every argument out of range.
        AccumulationError: a ValueError; the trainer accumulates and
            ``accumulation_steps`` is above 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulation_steps: int = 1,
        max_grad_norm: float | None = 1.0,
        scaler: Any | None = None,
        batch_size: int = 1,
        trainer: Any | None = None,
        monitor: GradientMonitor | None = None,
    ) -> None:
        refuse_invalid_arguments(
            optimizer, accumulation_steps, max_grad_norm, scaler, batch_size, monitor
        )
        self._trainer_steps = lightning_steps(trainer, accumulation_steps)
        self.optimizer = optimizer
        self.accumulation_steps = accumulation_steps
        self.max_grad_norm = max_grad_norm
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.batch_size = batch_size
        self.trainer = trainer
        self.monitor = monitor
        self._last_norms: GradientNorms | None = None
        self.last_grad_norm = 0.0
        self.last_skipped_batches: tuple[int, ...] = ()
        self._window = AccumulationWindow()
        self._position = 0
        self._batch_index = 0
        self._total_steps = 0
        self._optimizer_steps = 0
        self._skipped_steps = 0
        self._parameters = OptimizerParameters(optimizer)
        # A sum over a window overflows fp16 where its mean does not.
        has_little_room = self.scaler is not None or self._parameters.include_fp16()
        self._wants_means = accumulation_steps == 1 or has_little_room

    @property
    def is_lightning_managed(self) -> bool:
        """Whether a Lightning trainer accumulates, so that :meth:`accumulate` does nothing."""
        return self._trainer_steps > 1

    @property
    def effective_batch_size(self) -> int:
        """Samples in a full window, Lightning's where it manages that."""
        return self.batch_size * max(self.accumulation_steps, self._trainer_steps)

    @property
    def effective_step(self) -> int:
        """Optimizer steps taken, Lightning's where it manages them; skipped ones don't count."""
        if self.is_lightning_managed:
            return int(getattr(self.trainer, "global_step", 0))
        return self._optimizer_steps

    @property
    def at_window_start(self) -> bool:
        """Whether no micro-batch waits for its step."""
        return self._position == 0

    @property
    def last_health(self) -> GradientHealth | None:
        """The monitor's opinion of the last window; None before one, or without a monitor."""
        if self.monitor is None or self._last_norms is None:
            return None
        return self.monitor.assess(self._last_norms)

    @property
    def stats(self) -> AccumulationStats:
        """The counters as they are now."""
        return AccumulationStats(
            total_steps=self._total_steps,
            optimizer_steps=self.effective_step,
            current_accumulation=self._position,
            effective_batch_size=self.effective_batch_size,
            is_accumulating=self._position > 0,
            last_grad_norm=self.last_grad_norm,
            skipped_steps=self._skipped_steps,
        )

    def accumulate(
        self,
        loss: Tensor,
        model: nn.Module,
        is_final_batch: bool = False,
        num_items: ItemCount | None = None,
        *,
        is_total: bool = False,
    ) -> bool:
        """Run backward on a micro-batch's mean loss, and step where that closes a window.

        Args:
            loss: the mean over the micro-batch, a scalar with a graph, not scaled.
            model: names the layers in messages.
            is_final_batch: closes the window early, at the end of an epoch.
            num_items: the tokens or samples that ``loss`` is the mean over, a number or a scalar
                tensor, so that each of them weighs alike; None: each micro-batch does.
            is_total: ``loss`` is the sum over ``num_items``, not their mean; that spares the
                division and its backward pass.

        Returns:
            True where the optimizer stepped; False while accumulating, where the window was
            skipped for NaN or Inf (``at_window_start`` is True then), and under Lightning.

        Raises:
            AccumulationError: a ValueError; ``loss`` is no scalar with a graph, or ``num_items``
                is no count.
            GradientInstabilityError: a RuntimeError; the monitor has seen NaN or Inf too often in
                a row.
        """
        if self._trainer_steps > 1:
            return False
        self._backward(loss, num_items, is_total=is_total)
        self._total_steps += 1
        self._position += 1
        self._batch_index += 1
        if self._position < self.accumulation_steps and not is_final_batch:
            return False
        try:
            return self._close_window(model)
        finally:
            if is_final_batch:
                self._batch_index = 0

    def _backward(self, loss: Tensor, num_items: ItemCount | None, *, is_total: bool) -> None:
        if not (isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1):
            raise AccumulationError(loss_fault(loss))
        items = 1 if num_items is None else item_count(num_items, loss)
        if is_total and self._wants_means:
            loss, is_total = mean_of(loss, items), False
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        if self.accumulation_steps == 1:
            scaled.backward()
            return
        if is_total:
            scaled.backward()
        else:
            self._backward_weighed(scaled, items)
        self._window.add(items)

    def _backward_weighed(self, scaled: Tensor, items: ItemCount) -> None:
        weight = self._window.weight_of(items)
        if isinstance(weight, Tensor):
            scaled.backward(weight.reshape(scaled.shape))
        elif weight == 1:
            scaled.backward()
        else:
            scaled.backward(torch.full_like(scaled, weight))

    def _close_window(self, model: nn.Module) -> bool:
        names, gradients = self._gradients(model)
        scaler = self.scaler if gradients else None
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norms, scale = self._measure(names, gradients)
        self._last_norms = norms
        self.last_grad_norm = total = norms.total
        if norms.faults:
            self._skip(norms)
            return False
        if self.monitor is not None:
            self.monitor.consecutive_failures = 0
        if self.max_grad_norm is not None and total > self.max_grad_norm:
            scale *= self.max_grad_norm / (total + _CLIP_EPSILON)
        if scale != 1.0:
            torch._foreach_mul_(gradients, scale)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        self._optimizer_steps += 1
        self._start_window()
        return True

    def _gradients(self, model: nn.Module) -> tuple[Sequence[str], list[Tensor]]:
        """Return layer names and gradients, in memory that clipping may write to."""
        return self._parameters.gradients(model)

    def _measure(
        self, names: Sequence[str], gradients: list[Tensor]
    ) -> tuple[GradientNorms, float]:
        """Measure the window's mean gradient; the factor makes it of the summed one."""
        if self.accumulation_steps == 1:
            return measure_gradients(names, gradients), 1.0
        divisor = self._window.divisor()
        if isinstance(divisor, Tensor):
            norms = measure_gradients(names, gradients, extras=(divisor,))
            divisor = norms.extras[0]
        else:
            norms = measure_gradients(names, gradients)
        if not 0 <= divisor < math.inf:
            self._drop_window()
            raise AccumulationError(
                f"The num_items of a window add up to {divisor} times the first one's; "
                "give finite counts from 0 up."
            )
        # A window without items has a gradient of 0 already.
        scale = 1 / divisor if divisor else 1.0
        return (norms if scale == 1.0 else norms.scaled(scale)), scale

    def _skip(self, norms: GradientNorms) -> None:
        """Leave the window out: no step, and the scale of fp16 backs off."""
        batches = range(self._batch_index - self._position, self._batch_index)
        # A scale that can't back off any further has no part in the fault.
        is_overflow = self.scaler is not None and self.scaler.get_scale() > 1
        self.last_skipped_batches = tuple(batches)
        self._skipped_steps += 1
        self._drop_window()
        _log_skip(batches, norms, is_overflow)
        if self.monitor is not None and not is_overflow:
            self.monitor.judge(norms)

    def _drop_window(self) -> None:
        if self.scaler is not None:
            self.scaler.update()
        self._start_window()

    def _start_window(self) -> None:
        self._parameters.drop_gradients()
        self._window.clear()
        self._position = 0

    def reset_epoch(self) -> None:
        """Start a new epoch; gradients that wait for a step are dropped with a warning."""
        if self._position:
            logger.warning(
                "An epoch ended with %d micro-batches whose gradients were not applied; they are "
                "dropped. Pass is_final_batch=True with the last batch.",
                self._position,
            )
            self._start_window()
        self._batch_index = 0
        self._parameters.forget()

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint; the gradients of an open window are not among them."""
        return {
            "total_steps": self._total_steps,
            "optimizer_steps": self._optimizer_steps,
            "skipped_steps": self._skipped_steps,
            "position": self._position,
            "batch_index": self._batch_index,
            "window": self._window.state(),
            "last_grad_norm": self.last_grad_norm,
            "last_skipped_batches": list(self.last_skipped_batches),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s values.

        A state from within a window continues at its position, so that windows end where they
        would have; where the gradients are gone, the window's mean is over what is yet to come.

        Raises:
            AccumulationError: a ValueError; the state isn't one of this class.
        """
        refuse_invalid_state(state, self.accumulation_steps)
        for name in STATE_COUNTS:
            setattr(self, f"_{name}", state[name])
        self.last_grad_norm = float(state["last_grad_norm"])
        self.last_skipped_batches = tuple(state["last_skipped_batches"])
        self._window.restore(state["window"])
        if self._position and not self._parameters.have_gradients():
            logger.warning(
                "The state was saved after %d micro-batches of a window whose gradients are gone; "
                "save where at_window_start is True to lose none.",
                self._position,
            )
            self._window.clear()


def _log_skip(batches: range, norms: GradientNorms, is_overflow: bool) -> None:
    if is_overflow:
        logger.info("fp16 overflowed in batches %s: no step, and a smaller scale.", list(batches))
        return
    logger.warning(
        "No optimizer step after batches %s: %s; weights and optimizer stay as they were.",
        list(batches),
        ", ".join(norms.faults),
    )
