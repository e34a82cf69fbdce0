"""One epoch of training or of validation, step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from types import NoneType
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, IterableDataset

from utils.training.arguments import described, is_whole, require_instance, require_methods
from utils.training.engine.data import iterate, to_device
from utils.training.engine.devices import resolve_device
from utils.training.engine.epoch_sums import EpochSums
from utils.training.engine.forward import ForwardPass
from utils.training.engine.gradient_accumulator import GradientAccumulator
from utils.training.engine.gradient_monitor import GradientMonitor
from utils.training.engine.loss import LossStrategy, LossTerms, loss_terms
from utils.training.engine.metrics.confidence import ConfidenceAccumulator, ConfidenceMetrics
from utils.training.engine.outputs import EpochResult
from utils.training.engine.precision import Precision
from utils.training.errors import (
    InvalidArgumentError,
    InvalidConfigError,
    TrainingError,
    WrongTypeError,
)
from utils.training.task_spec import TaskSpec

CONFIDENCE_BATCHES = 16  # of a validation pass; the estimate is good, and the cost bounded


class MetricsTracker(Protocol):
    """Where step metrics go, such as a MetricsEngine."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Record values of one optimizer step."""


class NoBatchError(TrainingError, ValueError):
    """An epoch in which the data gave no batch."""

    def __init__(self, epoch: int, kind: str = "training") -> None:
        super().__init__(
            f"The {kind} data had no batch in epoch {epoch}; give a dataset, a DataLoader, or "
            "an iterable that starts anew each time (a generator is used up after one epoch)."
        )


class NoMetrics:
    """Keeps no metrics."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Drop the values."""


class Step(NamedTuple):
    """What a micro-batch did."""

    batch_index: int  # in the epoch
    terms: LossTerms  # on the device
    closes_window: bool  # the accumulation window ended here
    is_optimizer_step: bool  # and the weights moved

    def read_loss(self) -> float:
        """Read the micro-batch's mean loss; this waits for the device."""
        return self.terms.total.item() / (self.terms.num_items.item() or 1.0)


class TrainingLoop:
    """Trains a model for one epoch at a time.

    Args:
        model: any module; see :class:`~utils.training.engine.forward.ForwardPass` for batches.
        optimizer: over the model's parameters.
        loss_strategy: what :func:`~utils.training.engine.loss.get_loss_strategy` gives.
        gradient_accumulator: weights, clips and steps; None: one batch a step, clipped at norm 1.
        gradient_monitor: judges gradients before each step; None: the accumulator's own, if any.
        metrics_tracker: gets ``train/...`` values every ``log_interval_steps``; None: nobody.
        device: ``auto`` is CUDA, else MPS, else the CPU. The model is moved there.
        task_spec: gives the padding id and the unit of throughput.
        precision: what the forward pass runs under.
        log_interval_steps: optimizer steps between two logs.

    Raises:
        InvalidArgumentError: a ValueError; the accumulator steps another optimizer.
        InvalidConfigError: a ValueError; an argument is out of range, or the device isn't here.
        WrongTypeError: a TypeError; an argument is of the wrong kind.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_strategy: LossStrategy,
        gradient_accumulator: GradientAccumulator | None = None,
        gradient_monitor: GradientMonitor | None = None,
        metrics_tracker: MetricsTracker | None = None,
        device: str | torch.device = "auto",
        *,
        task_spec: TaskSpec | None = None,
        precision: Precision | None = None,
        log_interval_steps: int = 10,
    ) -> None:
        _refuse_kinds(model, loss_strategy, metrics_tracker)
        _refuse_other_parts(optimizer, gradient_accumulator, gradient_monitor)
        if not is_whole(log_interval_steps, 1):
            fault = f"log_interval_steps is {log_interval_steps!r}, allowed is a whole number from "
            raise InvalidConfigError([f"{fault}1 up."])
        self.device = resolve_device(device)
        self.model = model.to(self.device)
        self.optimizer = optimizer
        self.loss_strategy = loss_strategy
        self.precision = precision or Precision()
        self.accumulator = gradient_accumulator or GradientAccumulator(
            optimizer, scaler=self.precision.scaler
        )
        if gradient_monitor is not None:
            self.accumulator.monitor = gradient_monitor
        self.metrics_tracker = metrics_tracker or NoMetrics()
        self.log_interval_steps = log_interval_steps
        self._forward = ForwardPass(model, task_spec)
        self._move = mover_to(self.device)
        self.task_spec = task_spec
        self.interval_loss = math.nan  # mean over the steps between the last two logs
        self._rate_name = f"train/{item_unit(task_spec)}_per_second"

    def run_epoch(
        self, dataloader: Iterable[Any], epoch: int, scheduler: Any | None = None
    ) -> EpochResult:
        """Train on every batch once.

        Args:
            dataloader: a DataLoader or any iterable of batches.
            epoch: its number, which decides the shuffling of loaders that know epochs.
            scheduler: stepped after each optimizer step, not after a skipped one.

        Raises:
            RuntimeError: gradients were NaN or Inf too often in a row.
            BatchError: a ValueError; a batch does not fit the model.
            NoBatchError: a ValueError; there was none.
            WrongTypeError: a TypeError; what was given has no batches, or the scheduler no step.
        """
        refuse_no_batches("dataloader", dataloader)
        if scheduler is not None:
            require_methods("scheduler", scheduler, ["step"], "a torch.optim.lr_scheduler")
        sums = EpochSums()
        for _ in self.steps(iterate(dataloader, epoch=epoch), sums, scheduler):
            pass
        if not sums.batch_count:
            raise NoBatchError(epoch)
        return sums.result(epoch, learning_rate(self.optimizer))

    def steps(
        self,
        batches: Iterable[Any],
        sums: EpochSums,
        scheduler: Any | None = None,
        first_batch: int = 0,
    ) -> Generator[Step, None, None]:
        """Train batch by batch; the caller may stop after any step that closes a window.

        Args:
            batches: what is left of the epoch.
            sums: takes in what each batch adds to the epoch's result.
            scheduler: stepped after each optimizer step.
            first_batch: the index in the epoch of the first of ``batches``.
        """
        accumulator, train_batch = self.accumulator, self._train_batch
        self.model.train()
        if first_batch == 0:
            accumulator.reset_epoch()
        clock = time.perf_counter()
        flagged = flag_final(batches, accumulator.accumulation_steps)
        for index, (given, is_final) in enumerate(flagged, first_batch):
            terms, is_step = train_batch(given, sums, is_final=is_final)
            closes_window = accumulator.at_window_start
            if closes_window:
                now = time.perf_counter()
                sums.seconds += now - clock
                clock = now
                self._close_window(sums, scheduler, is_step)
            yield Step(index, terms, closes_window, is_step)

    def _train_batch(
        self, given: Any, sums: EpochSums, *, is_final: bool
    ) -> tuple[LossTerms, bool]:
        """Run forward and backward; the terms, and whether the weights moved."""
        batch = self._move(given)
        with self.precision.autocast:
            inputs = self._forward(batch)
            terms = loss_terms(self.loss_strategy, inputs)
        is_step = self.accumulator.accumulate(
            terms.total,
            self.model,
            is_final_batch=is_final,
            num_items=terms.num_items,
            is_total=True,
        )
        sums.add(terms, len(inputs["logits"]))
        return terms, is_step

    def _close_window(self, sums: EpochSums, scheduler: Any | None, is_step: bool) -> None:
        if not is_step:
            sums.discard()
            return
        sums.commit()
        if scheduler is not None:
            scheduler.step()
        norm = self.accumulator.last_grad_norm
        sums.max_gradient_norm = max(sums.max_gradient_norm, norm)
        step = self.accumulator.effective_step
        if step % self.log_interval_steps == 0:
            self._log(sums, norm, step)

    def _log(self, sums: EpochSums, gradient_norm: float, step: int) -> None:
        interval = sums.interval()
        self.interval_loss = interval.loss
        values = {
            "train/loss": interval.loss,
            "train/gradient_norm": gradient_norm,
            "train/learning_rate": learning_rate(self.optimizer),
            self._rate_name: interval.items_per_second,
        }
        if not math.isnan(interval.accuracy):
            values["train/accuracy"] = interval.accuracy
        self.metrics_tracker.log_metrics(values, step)


class ValidationLoop:
    """Measures a model on held-out data; the model, and whether it is training, stay as they were.

    Args:
        model: any module; it is moved to the device.
        loss_strategy: the same as in training.
        metrics_tracker: gets ``val/...`` values after each pass; None: nobody.
        device: ``auto`` is CUDA, else MPS, else the CPU.
        task_spec: gives the padding id.
        precision: what the forward pass runs under.

    Raises:
        InvalidConfigError: a ValueError; the device isn't here.
        WrongTypeError: a TypeError; an argument is of the wrong kind.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_strategy: LossStrategy,
        metrics_tracker: MetricsTracker | None = None,
        device: str | torch.device = "auto",
        *,
        task_spec: TaskSpec | None = None,
        precision: Precision | None = None,
    ) -> None:
        _refuse_kinds(model, loss_strategy, metrics_tracker)
        self.device = resolve_device(device)
        self.model = model.to(self.device)
        self.loss_strategy = loss_strategy
        self.metrics_tracker = metrics_tracker or NoMetrics()
        self.precision = precision or Precision()
        self.confidence: ConfidenceMetrics | None = None
        self._forward = ForwardPass(model, task_spec)
        self._move = mover_to(self.device)
        self._shifts_labels = predicts_next_token(task_spec)

    def run_epoch(self, dataloader: Iterable[Any], epoch: int) -> EpochResult:
        """Measure every batch once; ``confidence`` then holds that of the first batches.

        Raises:
            BatchError: a ValueError; a batch does not fit the model.
            NoBatchError: a ValueError; there was none.
            WrongTypeError: a TypeError; what was given has no batches.
        """
        refuse_no_batches("dataloader", dataloader)
        sums = EpochSums()
        for _ in self.steps(iterate(dataloader, epoch=epoch), sums):
            pass
        if not sums.batch_count:
            raise NoBatchError(epoch, "validation")
        result = sums.result(epoch)
        self.metrics_tracker.log_metrics(self.metrics(result), epoch)
        return result

    def steps(self, batches: Iterable[Any], sums: EpochSums) -> Generator[int, None, None]:
        """Measure batch by batch; the caller may stop after any. Yields each batch's index."""
        model = self.model
        confidence = ConfidenceAccumulator()
        was_training = model.training
        model.eval()
        start = time.perf_counter()
        try:
            for index, given in enumerate(batches):
                with torch.no_grad():
                    self._measure(given, index, sums, confidence)
                yield index
        finally:
            model.train(was_training)
        sums.seconds = time.perf_counter() - start
        self.confidence = self._confidence_of(confidence)

    def _confidence_of(self, measured: ConfidenceAccumulator) -> ConfidenceMetrics:
        return measured.compute()

    def _measure(
        self, given: Any, index: int, sums: EpochSums, confidence: ConfidenceAccumulator
    ) -> None:
        batch = self._move(given)
        with self.precision.autocast:
            inputs = self._forward(batch)
            terms = loss_terms(self.loss_strategy, inputs)
        sums.add(terms, len(inputs["logits"]))
        sums.commit()
        if index < CONFIDENCE_BATCHES:
            confidence.update(
                inputs["logits"],
                inputs["labels"],
                inputs.get("attention_mask"),
                inputs.get("pad_token_id"),
                shift_labels=self._shifts_labels,
            )

    def metrics(self, result: EpochResult) -> dict[str, float]:
        """Name a pass's numbers as trackers know them."""
        found = self.confidence
        values = {"val/loss": result.avg_loss, "val/accuracy": result.avg_accuracy}
        if found is not None and found.num_samples:
            values["val/confidence"] = found.top1_confidence
            values["val/entropy"] = found.entropy
        if found is not None and found.calibration_error is not None:
            values["val/calibration_error"] = found.calibration_error
        return {name: value for name, value in values.items() if not math.isnan(value)}


def _refuse_kinds(model: Any, loss_strategy: Any, metrics_tracker: Any) -> None:
    require_instance("model", model, nn.Module, "an nn.Module")
    strategies = "an object with compute_loss(inputs), such as get_loss_strategy(task_type)"
    require_methods("loss_strategy", loss_strategy, ["compute_loss"], strategies)
    if metrics_tracker is not None:
        trackers = "a MetricsEngine, or an object with log_metrics(metrics, step)"
        require_methods("metrics_tracker", metrics_tracker, ["log_metrics"], trackers)


def _refuse_other_parts(optimizer: Any, accumulator: Any, monitor: Any) -> None:
    monitors = GradientMonitor, NoneType
    require_instance("gradient_monitor", monitor, monitors, "a GradientMonitor, or None")
    accumulators = GradientAccumulator, NoneType
    allowed = "a GradientAccumulator, or None"
    require_instance("gradient_accumulator", accumulator, accumulators, allowed)
    if accumulator is not None and accumulator.optimizer is not optimizer:
        raise InvalidArgumentError(
            f"The gradient_accumulator steps another {described(accumulator.optimizer)[2:]} than "
            "the optimizer that was given; give both the same."
        )


def refuse_no_batches(name: str, data: Any) -> None:
    """Refuse what can't be iterated batch by batch.

    Raises:
        WrongTypeError: a TypeError.
    """
    allowed = "a DataLoader, or another iterable of batches"
    is_samples = isinstance(data, Dataset) and not isinstance(data, IterableDataset)
    if is_samples or not (isinstance(data, Iterable) or hasattr(data, "__getitem__")):
        advice = "wrap it: DataLoader(dataset, batch_size=32)" if is_samples else ""
        raise WrongTypeError(name, described(data), allowed, advice)


def mover_to(device: torch.device) -> Callable[[Any], Any]:
    """Return what brings a batch to the device; loaders make batches on the CPU already."""
    return _stay if device.type == "cpu" else partial(to_device, device=device)


def _stay(batch: Any) -> Any:
    return batch


def flag_final(batches: Iterable[Any], window_size: int) -> Iterator[tuple[Any, bool]]:
    """Pair each batch with whether it is the last and cuts its window short.

    It looks one batch ahead inside a window only: where a window closes, and a checkpoint may be
    written, nothing of the next one has been drawn from a random generator yet.
    """
    source = iter(batches)
    for opening in source:
        batch = opening
        for _ in range(window_size - 1):
            following = next(source, _END)
            yield batch, following is _END
            if following is _END:
                return
            batch = following
        yield batch, False


_END = object()


def learning_rate(optimizer: Optimizer) -> float:
    """Read the first parameter group's present rate."""
    return float(optimizer.param_groups[0]["lr"])


def predicts_next_token(task_spec: TaskSpec | None) -> bool:
    """Tell a causal language model's task from the others."""
    return task_spec is not None and task_spec.task_type in ("language_modeling", "causal_lm")


def item_unit(task_spec: TaskSpec | None) -> str:
    """Name what a loss is averaged over: tokens or samples."""
    return "tokens" if predicts_next_token(task_spec) else "samples"
