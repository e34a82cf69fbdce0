"""What the monitor shows to Prometheus: versions by their last windows, and its own work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from utils.service.contracts.drift import DriftWindow

_VERSION = ["model_name", "model_version"]
_STATUS = {"healthy": 0.0, "warning": 1.0, "critical": 2.0}
_MOST_VERSIONS = 3  # of a model, the last ones that were seen
_MOST_FEATURES = 20  # of a version, the most drifted


class MonitorMetrics:
    """Counters of this replica, and gauges of the windows while it is the active one."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._windows_shown = WindowsCollector()
        registry.register(self._windows_shown)
        self.windows = Counter(
            "drift_windows_total",
            "Finished windows.",
            ["model_name", "status"],
            registry=registry,
        )
        self.predictions = Counter(
            "drift_predictions_total",
            "Requests that were told.",
            [*_VERSION, "outcome"],
            registry=registry,
        )
        self.lost = Counter(
            "drift_summaries_lost_total",
            "Summaries that the stream dropped before they were read, or that can't be read.",
            registry=registry,
        )
        self.restarts = Counter(
            "drift_fresh_starts_total", "Times that Redis was found empty.", registry=registry
        )
        self.lag = Gauge("drift_stream_lag", "Summaries not read yet.", registry=registry)
        self.signals = Counter(
            "drift_signals_total",
            "Signals to the scheduler: sent, no_rule, refused, or delayed.",
            ["outcome"],
            registry=registry,
        )
        self.rollbacks = Counter(
            "drift_rollbacks_total",
            "Promotions to be taken back: done, outdated, or refused.",
            ["model_name", "outcome"],
            registry=registry,
        )
        self.loop_success = Gauge(
            "monitor_loop_last_success_timestamp_seconds",
            "When a loop last did its work; at first, when this process began.",
            ["loop"],
            registry=registry,
        )
        self.alerts = Counter(
            "training_alerts_total",
            "Alerts told: warning, critical, or resolved.",
            ["severity"],
            registry=registry,
        )

    def show(self, latest: Iterable[DriftWindow]) -> None:
        """Show these versions, newest first within a name; none while standing by."""
        self._windows_shown.latest = _bounded(latest)


class WindowsCollector(Collector):
    """The last window of each version."""

    def __init__(self) -> None:
        self.latest: list[DriftWindow] = []

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering asks for nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """A sample for each version, feature and metric."""
        score = _family("drift_score_bits", "Debiased JS divergence of the worst feature.")
        status = _family("drift_status", "0 healthy, 1 warning, 2 critical.")
        rows = _family("drift_window_rows", "Predictions in the last window.")
        end = _family("drift_window_end_timestamp_seconds", "When the last window ended.")
        missing = _family("drift_reference_missing", "1 where a version has no reference profile.")
        feature = _family("drift_feature_js_bits", "Debiased JS divergence.", "feature")
        metric = _family("performance_metric", "Live performance by window.", "metric")
        for window in self.latest:
            labels = [window.model_name, window.version]
            is_judged = window.status in _STATUS
            missing.add_metric(labels, float(not window.has_reference))
            rows.add_metric(labels, window.rows)
            end.add_metric(labels, window.window_end.timestamp())
            if is_judged:
                score.add_metric(labels, window.score)
                status.add_metric(labels, _STATUS[window.status])
            for name, value in window.metrics.items():
                metric.add_metric([*labels, name], value)
            worst = sorted(window.features.items(), key=lambda item: -item[1].js)
            for name, shift in worst[:_MOST_FEATURES]:
                feature.add_metric([*labels, name], shift.js)
        yield from (score, status, rows, end, missing, feature, metric)


def _family(name: str, text: str, *more: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=[*_VERSION, *more])


def _bounded(latest: Iterable[DriftWindow]) -> list[DriftWindow]:
    kept: dict[str, list[DriftWindow]] = {}
    for window in latest:
        versions = kept.setdefault(window.model_name, [])
        if len(versions) < _MOST_VERSIONS:
            versions.append(window)
    return [window for versions in kept.values() for window in versions]
