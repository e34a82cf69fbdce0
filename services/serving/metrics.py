"""What serving shows to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_VERSION = ["model_name", "model_version"]
_ANSWER_SECONDS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0),
)
_SWITCH_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ServingMetrics:
    """Requests, loaded versions, switches, and the summaries that the monitor is sent."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "serving_requests_total",
            "Predictions asked for, by the HTTP status of their answer.",
            [*_VERSION, "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "serving_request_seconds",
            "Time to answer a prediction.",
            _VERSION,
            buckets=_ANSWER_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "serving_requests_in_flight",
            "Predictions being answered.",
            ["model_name"],
            registry=registry,
        )
        self.loaded = Gauge(
            "serving_loaded", "1 for each version that answers.", _VERSION, registry=registry
        )
        self.switches = Counter(
            "serving_switches_total",
            "Versions that took over, the first one of a name included.",
            ["model_name"],
            registry=registry,
        )
        self.switch_seconds = Histogram(
            "serving_switch_seconds",
            "From seeing a promotion to answering with it.",
            ["model_name"],
            buckets=_SWITCH_SECONDS,
            registry=registry,
        )
        self.sync_failures = Counter(
            "serving_sync_failures_total",
            "Versions that could not be brought up.",
            ["model_name"],
            registry=registry,
        )
        self.sync_last_success = Gauge(
            "serving_sync_last_success_timestamp_seconds",
            "When the registry was last read and followed; at first, when this process began.",
            registry=registry,
        )
        self.sync_last_success.set_to_current_time()
        self.summaries = Counter(
            "serving_summaries_total",
            "Summaries for the monitor: sent, dropped by a full queue, or failed.",
            ["outcome"],
            registry=registry,
        )
