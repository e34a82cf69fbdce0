"""Serving: requests, errors and latency by version; budgets; drift by feature; switches."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.dashboards.parts import (
    MODEL,
    RED,
    RELEASE,
    YELLOW,
    Query,
    add,
    board,
    events,
    graph,
    number,
)

_VERSION = "model_name, model_version"
_FAULTS = f'{MODEL}, code=~"5.."'
_NAME = "{{model_name}} v{{model_version}}"


def _rate(selector: str = MODEL) -> str:
    return f"sum by ({_VERSION}) (rate(serving_requests_total{{{selector}}}[$__rate_interval]))"


def _quantile(share: float) -> Query:
    buckets = f"rate(serving_request_seconds_bucket{{{MODEL}}}[$__rate_interval])"
    expr = f"histogram_quantile({share}, sum by ({_VERSION}, le) ({buckets}))"
    return Query(expr, f"{_NAME} p{share * 100:g}")


def build() -> Dashboard:
    """The dashboard for whoever is woken by a burning budget."""
    made = board("serving", "Serving", "Predictions: rate, errors, latency, drift, by version.")
    add(
        made,
        "Objectives",
        [
            number(
                "Errors, last hour",
                "Share of predictions with a server's error; 0.1 % may.",
                "percentunit",
                Query(f"model:serving_errors:ratio_rate1h{{{MODEL}}}", "{{model_name}}"),
                steps=[(0.001, YELLOW), (0.0144, RED)],
                width=6,
            ),
            number(
                "Slow, last hour",
                "Share of predictions over 250 ms; 1 % may.",
                "percentunit",
                Query(f"model:serving_slow:ratio_rate1h{{{MODEL}}}", "{{model_name}}"),
                steps=[(0.01, YELLOW), (0.144, RED)],
                width=6,
            ),
            number(
                "Error budget burnt, 3 days",
                "1 is the pace at which the budget lasts exactly 30 days.",
                "none",
                Query(f"model:serving_errors:ratio_rate3d{{{MODEL}}} / 0.001", "{{model_name}}"),
                steps=[(1, YELLOW), (6, RED)],
                width=6,
            ),
            number(
                "In flight",
                "Predictions being answered.",
                "none",
                Query(
                    f"sum by (model_name) (serving_requests_in_flight{{{MODEL}}})",
                    "{{model_name}}",
                ),
                width=6,
            ),
        ],
    )
    add(
        made,
        "Requests by version",
        [
            graph("Rate", "Predictions answered in a second.", "reqps", Query(_rate(), _NAME)),
            graph(
                "Errors",
                "Share of answers with a server's error.",
                "percentunit",
                Query(
                    f"({_rate(_FAULTS)} or 0 * {_rate()}) / {_rate()}",
                    _NAME,
                ),
                steps=[(0.001, RED)],
            ),
            graph(
                "Latency",
                "From the request's first byte to the answer, in the gateway.",
                "s",
                _quantile(0.5),
                _quantile(0.99),
                steps=[(0.25, RED)],
            ),
        ],
    )
    add(
        made,
        "Drift",
        [
            graph(
                "Drift by feature",
                "Jensen-Shannon divergence of each feature from the version's reference, in bits.",
                "none",
                Query(
                    f"max by ({_VERSION}, feature) (drift_feature_js_bits{{{MODEL}}})",
                    f"{_NAME} {{{{feature}}}}",
                ),
                steps=[(0.1, YELLOW), (0.2, RED)],
                width=12,
            ),
            graph(
                "Predictions looked at",
                "What the monitor has read of the stream, by outcome.",
                "reqps",
                Query(
                    "sum by (model_name, outcome) "
                    f"(rate(drift_predictions_total{{{MODEL}}}[$__rate_interval]))",
                    "{{model_name}} {{outcome}}",
                ),
                width=6,
            ),
            graph(
                "Summaries",
                "What serving sent to the stream, and what it had to drop.",
                "none",
                Query(
                    "sum by (outcome) "
                    f"(rate(serving_summaries_total{{{RELEASE}}}[$__rate_interval]))",
                    "{{outcome}}",
                ),
                width=6,
            ),
        ],
    )
    add(
        made,
        "Versions",
        [
            graph(
                "Switches",
                "Versions that took over.",
                "none",
                Query(
                    events(f"serving_switches_total{{{MODEL}}}", "model_name", "$__rate_interval"),
                    "{{model_name}}",
                ),
                style="bars",
            ),
            graph(
                "Time to switch",
                "From seeing a promotion to answering with it, on average.",
                "s",
                Query(
                    f"sum by (model_name) (serving_switch_seconds_sum{{{MODEL}}}) "
                    f"/ sum by (model_name) (serving_switch_seconds_count{{{MODEL}}})",
                    "{{model_name}}",
                ),
            ),
            graph(
                "Following the registry",
                "Seconds since it was read, and versions that could not be brought up.",
                "none",
                Query(
                    f"time() - min(serving_sync_last_success_timestamp_seconds{{{RELEASE}}})",
                    "seconds ago",
                ),
                Query(f"sum(serving_sync_failures_total{{{RELEASE}}}) or vector(0)", "failures"),
            ),
        ],
    )
    return made
