"""The numbers of a training run: logged, judged, kept, and handed out as one table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from types import NoneType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor

from utils.training.arguments import is_whole, require_instance, require_methods
from utils.training.drift_metrics import DriftMetrics, compare_profiles
from utils.training.engine.metrics.alerts import Alert, AlertCallback, AlertConfig, AlertRules
from utils.training.engine.metrics.confidence import ConfidenceMetrics, compute_confidence
from utils.training.engine.trackers import (
    ExperimentDBTracker,
    Tracker,
    TrackerGroup,
    WandbTracker,
    trackers_from_config,
)
from utils.training.errors import InvalidArgumentError
from utils.training.notifications import notifiers_from_environment
from utils.training.training_config import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_NUMBER, _BITS = (int, float), "a number of bits"

SUMMARY_COLUMNS = (
    "epoch",
    "train_loss",
    "val_loss",
    "train_accuracy",
    "val_accuracy",
    "learning_rate",
    "gradient_norm",
    "epoch_duration",
)


class MetricsEngine:
    """Logs to trackers, raises alerts, compares data profiles, and keeps one row an epoch.

    Nothing in it can stop a training run: a tracker that fails is warned about once and left out,
    a failing callback is warned about, and NaN is a value like any other.

    Args:
        use_wandb: log to Weights & Biases, where it can be reached.
        gradient_accumulation_steps: micro-batches of an optimizer step; values logged without a
            step are counted by it (see :meth:`log_scalar`).
        drift_threshold_warning: JS divergence in bits from which drift is a warning.
        drift_threshold_critical: JS divergence in bits from which drift is critical.
        alert_config: thresholds, and whether e-mail and Slack are told.
        alert_callbacks: called with each new alert's dict.
        experiment_db: an ExperimentDB, together with ``run_id``.
        run_id: what ``ExperimentDB.log_run`` returned.
        trackers: further places to log to.

    Raises:
        ValueError: a number is out of range, or one of ``experiment_db`` and ``run_id`` is missing.
        WrongTypeError: a TypeError; an argument is of the wrong kind.
    """

    def __init__(
        self,
        use_wandb: bool = True,
        gradient_accumulation_steps: int = 1,
        drift_threshold_warning: float = 0.1,
        drift_threshold_critical: float = 0.2,
        alert_config: AlertConfig | None = None,
        alert_callbacks: Sequence[AlertCallback] | None = None,
        experiment_db: Any | None = None,
        run_id: int | None = None,
        trackers: Iterable[Tracker] | None = None,
    ) -> None:
        if not is_whole(gradient_accumulation_steps, 1):
            raise InvalidArgumentError(
                f"gradient_accumulation_steps is {gradient_accumulation_steps!r}, allowed is a "
                "whole number from 1 up."
            )
        require_instance("drift_threshold_warning", drift_threshold_warning, _NUMBER, _BITS)
        require_instance("drift_threshold_critical", drift_threshold_critical, _NUMBER, _BITS)
        require_instance("alert_config", alert_config, (AlertConfig, NoneType), "an AlertConfig")
        require_instance("trackers", trackers, (Iterable, NoneType), "a list of trackers")
        _refuse_no_functions(alert_callbacks)
        if not 0 <= drift_threshold_warning <= drift_threshold_critical:
            raise InvalidArgumentError(
                f"drift_threshold_warning is {drift_threshold_warning} and "
                f"drift_threshold_critical is {drift_threshold_critical}, allowed is "
                "0 <= warning <= critical."
            )
        config = alert_config or AlertConfig()
        self._accumulation_steps = gradient_accumulation_steps
        self._drift_thresholds = (drift_threshold_warning, drift_threshold_critical)
        self._trackers = TrackerGroup(
            [
                *([WandbTracker()] if use_wandb else []),
                *_database_tracker(experiment_db, run_id),
                *(trackers or ()),
            ]
        )
        self._rules = AlertRules(config, *self._drift_thresholds)
        self._callbacks = list(alert_callbacks or ())
        self._notifiers = notifiers_from_environment(
            email=config.enable_email_alerts, slack=config.enable_slack_alerts
        )
        self._rows: dict[int, dict[str, Any]] = {}
        self._alerts: list[Alert] = []
        self._num_read_alerts = 0
        self._counts: dict[str, int] = {}
        self._refused_names: set[str] = set()

    @classmethod
    def from_config(
        cls,
        config: TrainingConfig,
        alert_config: AlertConfig | None = None,
        alert_callbacks: Sequence[AlertCallback] | None = None,
        experiment_db: Any | None = None,
        run_id: int | None = None,
        trackers: Iterable[Tracker] = (),
    ) -> Self:
        """An engine with the trackers and thresholds that a training configuration names."""
        return cls(
            use_wandb=False,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            drift_threshold_warning=config.drift_threshold_warning,
            drift_threshold_critical=config.drift_threshold_critical,
            alert_config=alert_config or AlertConfig.from_config(config),
            alert_callbacks=alert_callbacks,
            trackers=[*trackers_from_config(config, experiment_db, run_id), *trackers],
        )

    def log_scalar(self, name: str, value: float | Tensor, step: int | None = None) -> None:
        """Log one value, such as ``train/gradient_norm``.

        Args:
            name: groups end with a slash.
            value: a number, or a tensor that holds one (reading it waits for the device).
            step: the optimizer step. Without one the value is taken for a micro-batch's: the values
                of each name are counted, and ``gradient_accumulation_steps`` of them share a step.
        """
        self.log_metrics({name: value}, self._next_step(name) if step is None else step)

    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int) -> None:
        """Log several values of one optimizer step, at a lower cost than one by one."""
        if numbers := self._numbers(metrics):
            self._trackers.log(numbers, step=step)

    def log_histogram(self, name: str, values: Any, step: int | None = None) -> None:
        """Log a distribution.

        Args:
            name: as in :meth:`log_scalar`.
            values: numbers in any shape; a tensor may be on any device.
            step: the optimizer step, counted as in :meth:`log_scalar` where it is left out.
        """
        try:
            flat = _flat_array(values)
        except (TypeError, ValueError):
            self._refuse(name, values, "numbers")
            return
        step = self._next_step(name) if step is None else step
        if flat.size:
            self._trackers.log_histogram(name, flat, step)

    def _next_step(self, name: str) -> int:
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        return count // self._accumulation_steps

    def log_epoch(
        self,
        epoch: int,
        train_metrics: Mapping[str, float],
        val_metrics: Mapping[str, float] | None = None,
        learning_rate: float | None = None,
        gradient_norm: float | None = None,
        epoch_duration: float | None = None,
        reference_profile: dict[str, Any] | None = None,
        current_profile: dict[str, Any] | None = None,
    ) -> DriftMetrics | None:
        """Keep an epoch's row, log it, compare the profiles and raise alerts.

        An epoch that was logged before is replaced, as after a resume.

        Args:
            epoch: its number; alerts compare with the highest one below it.
            train_metrics: ``loss`` and whatever else the task has.
            val_metrics: the same of the validation data, None where there is none.
            learning_rate: at the end of the epoch.
            gradient_norm: the greatest L2 norm of the epoch, before clipping.
            epoch_duration: in seconds.
            reference_profile: of the data that the model is held against.
            current_profile: of the data now; with a reference, drift is measured.

        Returns:
            The drift between the two profiles, None where one of them is missing, or where the two
            can't be compared, which is warned about.

        Raises:
            InvalidArgumentError: a ValueError; ``epoch`` is no whole number from 0 up.
            WrongTypeError: a TypeError; the metrics are no dicts.
        """
        _refuse_no_epoch(epoch)
        require_instance("train_metrics", train_metrics, Mapping, "a dict such as {'loss': 0.4}")
        require_instance("val_metrics", val_metrics, (Mapping, NoneType), "a dict, or None")
        drift = self._compare(epoch, reference_profile, current_profile)
        metrics = {
            **_prefixed("train", self._numbers(train_metrics)),
            **_prefixed("val", self._numbers(val_metrics or {})),
            **self._numbers(
                {
                    "learning_rate": learning_rate,
                    "gradient_norm": gradient_norm,
                    "epoch_duration": epoch_duration,
                }
            ),
            **({} if drift is None else {"drift/js": float(drift.js_divergence)}),
        }
        row = _row(epoch, metrics, drift)
        previous = self._previous_row(epoch)
        self._rows[epoch] = row
        self._trackers.log(metrics, epoch=epoch)
        self._raise_alerts(self._rules.check(row, previous, drift))
        return drift

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Plain floats: a checkpoint that loads safely holds no NumPy scalars."""
        numbers = {}
        for name, value in metrics.items():
            try:
                numbers[name] = float(value)
            except (TypeError, ValueError, RuntimeError):
                if value is not None:
                    self._refuse(name, value, "one number")
        return numbers

    def _refuse(self, name: str, value: Any, wanted: str) -> None:
        if name not in self._refused_names:
            self._refused_names.add(name)
            logger.warning("Metric '%s' is %r, not %s: left out.", name, value, wanted)

    def _compare(
        self, epoch: int, reference: dict[str, Any] | None, current: dict[str, Any] | None
    ) -> DriftMetrics | None:
        if reference is None or current is None:
            return None
        warning, critical = self._drift_thresholds
        try:
            return compare_profiles(reference, current, warning=warning, critical=critical)
        except (ValueError, TypeError, KeyError) as error:  # the run is worth more than a profile
            logger.warning("Drift was not measured in epoch %d: %s", epoch, error)
            return None

    def _previous_row(self, epoch: int) -> dict[str, Any] | None:
        earlier = [number for number in self._rows if number < epoch]
        return self._rows[max(earlier)] if earlier else None

    def _raise_alerts(self, alerts: list[Alert]) -> None:
        known = {(alert.type, alert.epoch, alert.severity) for alert in self._alerts}
        for alert in alerts:
            if (alert.type, alert.epoch, alert.severity) in known:
                continue
            self._alerts.append(alert)
            logger.warning("Alert %s (%s): %s", alert.type, alert.severity, alert.message)
            listeners: list[AlertCallback] = [*self._callbacks, *self._notifiers]
            for listener in listeners:
                self._tell(listener, alert)

    @staticmethod
    def _tell(listener: AlertCallback, alert: Alert) -> None:
        try:
            listener(alert.to_dict())
        except Exception:  # a user's callback must not cost the training run
            logger.warning("An alert callback failed, training goes on.", exc_info=True)

    def log_confidence(
        self,
        logits: Tensor,
        labels: Tensor | None = None,
        step: int | None = None,
        attention_mask: Tensor | None = None,
        pad_token_id: int | None = None,
        shift_labels: bool = False,
    ) -> ConfidenceMetrics:
        """Measure and log how sure the predictions are, and how rightly.

        Shapes and the other arguments are those of
        :meth:`~utils.training.engine.metrics.confidence.ConfidenceAccumulator.update`, which
        serves a whole validation set too.

        Raises:
            ValueError: the shapes don't fit.
            WrongTypeError: a TypeError; logits or labels are no tensors.
        """
        advice = "make one by torch.as_tensor"
        require_instance("logits", logits, Tensor, "a tensor", advice)
        require_instance("labels", labels, (Tensor, NoneType), "a tensor, or None", advice)
        found = compute_confidence(logits, labels, attention_mask, pad_token_id, shift_labels)
        values = {
            "confidence/top1": found.top1_confidence,
            "confidence/top5": found.top5_confidence,
            "confidence/entropy": found.entropy,
        }
        if found.calibration_error is not None:
            values["confidence/calibration_error"] = found.calibration_error
        self.log_metrics(values, self._next_step("confidence") if step is None else step)
        return found

    def has_alerts(self) -> bool:
        """True while there are alerts that :meth:`get_alerts` has not handed out."""
        return self._num_read_alerts < len(self._alerts)

    def get_alerts(self) -> list[dict[str, Any]]:
        """The alerts since the last call, oldest first, each of them handed out once.

        Each has ``type``, ``message``, ``severity``, ``value``, ``threshold`` and ``epoch``.
        :attr:`alert_history` keeps them all.
        """
        new = self._alerts[self._num_read_alerts :]
        self._num_read_alerts = len(self._alerts)
        return [alert.to_dict() for alert in new]

    @property
    def alert_history(self) -> list[dict[str, Any]]:
        """Every alert of the run, oldest first."""
        return [alert.to_dict() for alert in self._alerts]

    def get_summary(self) -> pd.DataFrame:
        """One row an epoch, in the order of epochs.

        The columns of :data:`SUMMARY_COLUMNS` are always there, NaN where a task has no such
        number; further metrics follow as ``train_<name>`` and ``val_<name>``, and ``drift_js``
        (bits) with ``drift_status`` once profiles were compared.
        """
        import pandas as pd

        rows = [self._rows[epoch] for epoch in sorted(self._rows)]
        further = dict.fromkeys(name for row in rows for name in row if name not in SUMMARY_COLUMNS)
        frame = pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, *further])
        return frame.astype({"epoch": "int64", **dict.fromkeys(SUMMARY_COLUMNS[1:], "float64")})

    def state_dict(self) -> dict[str, Any]:
        """Rows, alerts and counts as plain values, for a checkpoint."""
        return {
            "rows": [dict(self._rows[epoch]) for epoch in sorted(self._rows)],
            "alerts": self.alert_history,
            "num_read_alerts": self._num_read_alerts,
            "counts": dict(self._counts),
            "rules": self._rules.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken: the summary is whole, no alert comes twice."""
        self._rows = {int(row["epoch"]): dict(row) for row in state["rows"]}
        self._alerts = [Alert(**alert) for alert in state["alerts"]]
        self._num_read_alerts = int(state["num_read_alerts"])
        self._counts = dict(state["counts"])
        self._rules.load_state_dict(state["rules"])

    def close(self) -> None:
        """Send what is waiting, for a limited time, and close every tracker."""
        self._trackers.close()
        for notifier in self._notifiers:
            notifier.close()


def _database_tracker(experiment_db: Any | None, run_id: int | None) -> list[Tracker]:
    if experiment_db is None and run_id is None:
        return []
    if experiment_db is None:
        raise InvalidArgumentError(
            f"run_id is {run_id!r} without an experiment_db; pass the database that the run is in."
        )
    if run_id is None:
        raise InvalidArgumentError(
            "experiment_db was given without run_id; pass what experiment_db.log_run returned."
        )
    return [ExperimentDBTracker(experiment_db, run_id)]


def _refuse_no_functions(callbacks: Any) -> None:
    allowed = "a list of functions of an alert"
    require_instance("alert_callbacks", callbacks, (Iterable, NoneType), allowed)
    for callback in callbacks or ():
        require_methods("An alert callback", callback, ["__call__"], "a function of an alert")


def _refuse_no_epoch(epoch: Any) -> None:
    if isinstance(epoch, bool) or not isinstance(epoch, Integral) or epoch < 0:
        raise InvalidArgumentError(f"epoch is {epoch!r}, allowed is a whole number from 0 up.")


def _prefixed(group: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """``loss`` and ``train_loss`` as ``train/loss``."""
    return {
        f"{group}/{name.removeprefix(f'{group}_').removeprefix(f'{group}/')}": value
        for name, value in metrics.items()
    }


def _row(epoch: int, metrics: Mapping[str, float], drift: DriftMetrics | None) -> dict[str, Any]:
    columns = {name.replace("/", "_"): value for name, value in metrics.items()}
    status = {} if drift is None else {"drift_status": str(drift.status)}
    return {"epoch": int(epoch), **columns, **status}


def _flat_array(values: Any) -> np.ndarray[Any, np.dtype[np.floating]]:
    if isinstance(values, Tensor):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float32).ravel()
