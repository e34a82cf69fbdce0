"""What a dashboard is given, in the one form that its panels read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from utils.training.arguments import described
from utils.training.errors import WrongTypeError
from utils.training.training_config import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

_FOOTER_FIELDS = (
    "run_name",
    "learning_rate",
    "batch_size",
    "gradient_accumulation_steps",
    "optimizer",
    "lr_schedule",
    "mixed_precision",
    "random_seed",
)
STATUSES = ("healthy", "warning", "critical")
_DRIFT_NAMES = {"drift_js": "js_divergence", "drift_status": "status"}


@dataclass(frozen=True)
class Settings:
    """What a training configuration tells the panels; defaults where it is silent."""

    explosion_threshold: float
    gradient_clip_norm: float | None
    drift_threshold_warning: float  # bits
    drift_threshold_critical: float  # bits
    monitor: str
    monitor_mode: str
    footer: str

    @classmethod
    def from_config(cls, config: Any) -> Settings:
        """Read a TrainingConfig, a mapping, any object with such attributes, or None."""
        given = _as_mapping(config)
        defaults = TrainingConfig(gradient_clip_norm=None)
        values = {
            name: given.get(name, getattr(defaults, name))
            for name in cls.__dataclass_fields__
            if name != "footer"
        }
        shown = [f"{n}\u00a0{given[n]}" for n in _FOOTER_FIELDS if given.get(n) not in (None, "")]
        return cls(**values, footer=" · ".join(shown))


def _as_mapping(config: Any) -> Mapping[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return config
    if is_dataclass(config) and not isinstance(config, type):
        return asdict(config)
    if not hasattr(config, "__dict__"):
        raise WrongTypeError("config", described(config), "a TrainingConfig, a dict, or None")
    return dict(vars(config))


@dataclass(frozen=True)
class Best:
    """The best epoch, by the monitored column."""

    column: str
    epoch: float
    value: float


def best_epoch(frame: pd.DataFrame, settings: Settings) -> Best | None:
    """The epoch of the best value; NaN is never best, and of equal ones the later is."""
    wanted = (settings.monitor, settings.monitor_mode)
    for column, mode in (wanted, ("val_loss", "min"), ("train_loss", "min")):
        if column not in frame.columns:
            continue
        values = frame[column].where(frame[column].abs() < math.inf).dropna()
        if len(values):
            value = values.min() if mode == "min" else values.max()
            index = values.index[values == value][-1]
            return Best(column, float(frame["epoch"][index]), float(value))
    return None


@dataclass(frozen=True)
class View:
    """What a panel of metrics reads."""

    frame: pd.DataFrame
    settings: Settings
    best: Best | None


def metrics_frame(metrics: Any) -> pd.DataFrame:
    """One row an epoch, sorted, with ``epoch`` and number columns such as ``train_loss``.

    Args:
        metrics: the summary of a MetricsEngine; or what ``pandas.DataFrame`` takes, with columns
            named ``train_loss`` or ``train/loss``; or one row a value, with ``name``, ``value`` and
            ``epoch``, as experiment databases keep them.
    """
    import pandas as pd

    if isinstance(metrics, str) or not (metrics is None or isinstance(metrics, Iterable)):
        allowed = "a data frame, or rows or columns of one"
        raise WrongTypeError("metrics_df", described(metrics), allowed)
    frame = pd.DataFrame(metrics)
    if {"name", "value", "epoch"} <= set(frame.columns):
        of_epochs = frame.dropna(subset=["epoch"])
        frame = of_epochs.pivot_table(
            index="epoch", columns="name", values="value", aggfunc="last", dropna=False
        ).reset_index()
    frame = frame.rename(columns=lambda name: str(name).replace("/", "_"))
    if "epoch" not in frame.columns:
        frame = frame.reset_index(drop=True)
        frame.insert(0, "epoch", range(len(frame)))
    numbers = {
        name: pd.to_numeric(frame[name], errors="coerce").astype("float64")
        for name in frame.columns
        if name != "drift_status"
    }
    frame = frame.assign(**numbers).dropna(subset=["epoch"])
    return frame.sort_values("epoch", kind="stable").reset_index(drop=True)


@dataclass(frozen=True)
class DriftPoint:
    """One comparison of profiles. ``features`` are raw JS divergences in bits."""

    label: str  # its epoch or time
    js_divergence: float
    status: str
    affected_features: tuple[str, ...]
    features: dict[str, float]


@dataclass(frozen=True)
class DriftSeries:
    """The comparisons of a run in their order, what their labels are, and the levels (bits)."""

    axis: str
    points: tuple[DriftPoint, ...]
    warning: float
    critical: float


def drift_series(drift_data: Any, settings: Settings) -> DriftSeries:
    """Comparisons in any of the forms that :meth:`Dashboard.plot_with_drift` takes."""
    given = [_as_mapping(entry) for entry in _drift_entries(drift_data)]
    entries = [{_DRIFT_NAMES.get(key, key): v for key, v in e.items()} for e in given]
    entries = [entry for entry in entries if _number(entry.get("js_divergence")) is not None]
    axis = _drift_axis(entries)
    points = (_drift_point(i, entry, axis, settings) for i, entry in enumerate(entries))
    warning, critical = settings.drift_threshold_warning, settings.drift_threshold_critical
    return DriftSeries(axis, tuple(points), warning, critical)


def _drift_entries(drift_data: Any) -> Sequence[Any]:
    if drift_data is None:
        return []
    if hasattr(drift_data, "to_dict") and hasattr(drift_data, "columns"):
        return list(drift_data.to_dict("records"))
    if isinstance(drift_data, Mapping) or hasattr(drift_data, "js_divergence"):
        return [drift_data]
    if isinstance(drift_data, str) or not isinstance(drift_data, Iterable):
        allowed = "a list of DriftMetrics, a data frame, or None"
        raise WrongTypeError("drift_data", described(drift_data), allowed)
    return list(drift_data)


def _drift_axis(entries: list[dict[str, Any]]) -> str:
    if entries and all(_number(entry.get("epoch")) is not None for entry in entries):
        return "epoch"
    if entries and all(entry.get("timestamp") for entry in entries):
        return "timestamp"
    return "comparison"


def _drift_point(index: int, entry: dict[str, Any], axis: str, settings: Settings) -> DriftPoint:
    js = _number(entry["js_divergence"]) or 0.0
    affected = entry.get("affected_features")
    affected = affected.split(",") if isinstance(affected, str) else affected
    names = affected if isinstance(affected, Iterable) else ()
    details, status = entry.get("details"), str(entry.get("status"))
    return DriftPoint(
        label=_label(index, entry, axis),
        js_divergence=js,
        status=status if status in STATUSES else _status(js, settings),
        affected_features=tuple(str(name).strip() for name in names if str(name).strip()),
        features=_feature_divergences(details if isinstance(details, Mapping) else {}),
    )


def _label(index: int, entry: dict[str, Any], axis: str) -> str:
    if axis == "epoch":
        return f"{float(entry['epoch']):g}"
    if axis == "timestamp":
        return str(entry["timestamp"])[:16].replace("T", "\n")
    return str(index + 1)


def _status(js: float, settings: Settings) -> str:
    if js >= settings.drift_threshold_critical:
        return "critical"
    return "warning" if js >= settings.drift_threshold_warning else "healthy"


def _feature_divergences(details: Mapping[str, Any]) -> dict[str, float]:
    """The raw JS of each feature: the details named ``<feature>.js``."""
    named = {key.removesuffix(".js"): v for key, v in details.items() if key.endswith(".js")}
    values = {name: _number(value) for name, value in named.items()}
    return {name: value for name, value in values.items() if value is not None}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
