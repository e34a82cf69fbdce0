"""What is told of a run while it trains: points to the registry, progress to the worker."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping

from services.trainer.run.job import RunningJob
from services.trainer.run.resources import Resources
from services.trainer.run.sending import Sender
from utils.service.contracts.jobs import Progress
from utils.service.contracts.models import MetricValue
from utils.training.engine.trackers import NullTracker

log = logging.getLogger(__name__)

_SEND_SECONDS = 1.0
_TELL_SECONDS = 0.2
_MOST_POINTS = 5000  # of one batch
_HEALTH = ("train/gradient_norm", "train/learning_rate")  # of the engine's own log


class MetricSender(Sender):
    """Collects points of a run, and sends them in batches."""

    def __init__(self, job: RunningJob, run_id: int) -> None:
        super().__init__("metrics", _SEND_SECONDS)
        self._job = job
        self._run_id = run_id
        self._waiting: list[MetricValue] = []
        self._lock = threading.Lock()

    def add(
        self, values: Mapping[str, float], *, step: int | None = None, epoch: int | None = None
    ) -> None:
        """Take points to send; those that are no number are left out."""
        points = [
            MetricValue(name=name, value=value, step=step, epoch=epoch)
            for name, value in values.items()
            if math.isfinite(value)
        ]
        with self._lock:
            self._waiting += points

    def send(self) -> None:
        """Send what is waiting."""
        while batch := self._waiting[:_MOST_POINTS]:
            self._job.registry.log_metrics(self._run_id, batch, self._job.fence)
            with self._lock:
                del self._waiting[: len(batch)]


class Reporter(NullTracker):
    """Turns what the engine tells its hooks and its trackers into points and progress.

    Args:
        job: where progress goes.
        sender: where points go.
        batches: of an epoch.
        total: batches of the run.
        batch_size: samples of a batch.
        interval: batches between two points of the loss.
    """

    def __init__(
        self,
        job: RunningJob,
        sender: MetricSender,
        *,
        batches: int,
        total: int,
        batch_size: int,
        interval: int,
    ) -> None:
        self._job = job
        self._sender = sender
        self._batches = batches
        self._total = total
        self._batch_size = batch_size
        self._interval = interval
        self._epoch = 0
        self._pace: tuple[float, int] | None = None  # when and where this sitting began
        self._told_at = -math.inf
        self._resources = Resources()
        self._health: dict[str, float] = {}  # as last logged
        self._unsent: dict[str, float] = {}

    def log(
        self,
        metrics: Mapping[str, float],
        step: int | None = None,  # noqa: ARG002 - it counts optimizer steps, we count batches
        epoch: int | None = None,  # noqa: ARG002 - an epoch has none of what we keep
    ) -> None:
        """Note the gradients' norm and the learning rate; the batch's end tells them."""
        self._unsent = {name: metrics[name] for name in _HEALTH if name in metrics}
        self._health |= {k: v for k, v in self._unsent.items() if math.isfinite(v)}

    def on_epoch_start(self, epoch: int) -> None:
        """Note where the run is."""
        self._epoch = epoch

    def on_batch_end(self, batch_idx: int, loss: float) -> None:
        """Tell the loss, now and then."""
        now = time.monotonic()
        step = self._epoch * self._batches + batch_idx + 1
        self._pace = self._pace or (now, step)
        if step % self._interval == 0:
            self._sender.add({"train/loss": loss}, step=step, epoch=self._epoch)
        if self._unsent:
            self._sender.add(self._unsent, step=step, epoch=self._epoch)
            self._unsent = {}
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            self._tell(step, loss, now)

    def on_epoch_end(self, epoch: int, metrics: dict[str, float]) -> None:
        """Tell an epoch's metrics."""
        step = (epoch + 1) * self._batches
        self._sender.add(metrics, step=step, epoch=epoch)
        self._tell(step, metrics["train_loss"], time.monotonic())

    def _tell(self, step: int, loss: float, now: float) -> None:
        since, origin = self._pace or (now, step)
        batches_per_second = (step - origin) / (now - since) if now > since else 0.0
        left = max(self._total - step, 0) / batches_per_second if batches_per_second else None
        self._job.tell(
            Progress(
                step=step,
                total_steps=self._total,
                epoch=self._epoch,
                loss=loss if math.isfinite(loss) else None,
                samples_per_second=batches_per_second * self._batch_size,
                seconds_left=left,
                gradient_norm=self._health.get("train/gradient_norm"),
                learning_rate=self._health.get("train/learning_rate"),
                phase="train",
                **self._resources.measure(),
            )
        )
