"""The loop: drift, the trigger, the job, the gate and the promotion, on one time axis."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.dashboards.parts import (
    BLUE,
    GREEN,
    MODEL,
    PURPLE,
    RED,
    RELEASE,
    YELLOW,
    Query,
    add,
    beginnings,
    board,
    events,
    graph,
    note,
    number,
    timeline,
)

_DRIFT = {"0": ("healthy", GREEN), "1": ("warning", YELLOW), "2": ("critical", RED)}
_STATUS = f"max by (model_name) (drift_status{{{MODEL}}})"
_PROMOTED = f'model_promotions_total{{{MODEL}, tag="production"}}'


def build() -> Dashboard:
    """The dashboard to open first."""
    made = board(
        "loop", "The loop", "From drift to the version that replaces the one that drifted."
    )
    made.annotations(
        [
            note("Drift", RED, beginnings(f"drift_status{{{MODEL}}}", " == 2")),
            note(
                "Trigger",
                YELLOW,
                events(f"training_triggers_fired_total{{{MODEL}}}", "model_name", "1m") + " > 0",
            ),
            note("Training", BLUE, beginnings(f"training_job_steps{{{MODEL}}}")),
            note(
                "Gate",
                PURPLE,
                events(f"model_verdicts_total{{{MODEL}}}", "model_name, passed", "1m") + " > 0",
            ),
            note("Promotion", GREEN, events(_PROMOTED, "model_name, kind", "1m") + " > 0"),
        ]
    )
    add(
        made,
        "Now",
        [
            number(
                "Drift",
                "What the monitor says of the newest window.",
                "none",
                Query(_STATUS, "{{model_name}}"),
                words=_DRIFT,
                width=6,
            ),
            number(
                "Answering",
                "Versions that are loaded, and how many replicas have each.",
                "none",
                Query(
                    f"sum by (model_name, model_version) (serving_loaded{{{MODEL}}})",
                    "{{model_name}} v{{model_version}}",
                ),
                width=6,
            ),
            number(
                "Trainings by triggers",
                "In the time range shown.",
                "none",
                Query(
                    events(f"training_triggers_fired_total{{{MODEL}}}", "model_name", "$__range"),
                    "{{model_name}}",
                ),
            ),
            number(
                "Promotions",
                "In the time range shown; a rollback is one too.",
                "none",
                Query(events(_PROMOTED, "model_name", "$__range"), "{{model_name}}"),
            ),
            number(
                "Last window",
                "How long ago the monitor finished one.",
                "s",
                Query(
                    f"time() - max by (model_name) (drift_window_end_timestamp_seconds{{{MODEL}}})",
                    "{{model_name}}",
                ),
                steps=[(7200, YELLOW)],
            ),
        ],
    )
    add(
        made,
        "Drift and triggers",
        [
            graph(
                "Drift",
                "Debiased Jensen-Shannon divergence of the worst feature, in bits.",
                "none",
                Query(
                    f"max by (model_name, model_version) (drift_score_bits{{{MODEL}}})",
                    "{{model_name}} v{{model_version}}",
                ),
                width=12,
                steps=[(0.1, YELLOW), (0.2, RED)],
            ),
            graph(
                "Decisions",
                "What became of each window: fired, quiet, or the brake that held a training back.",
                "none",
                Query(
                    events(
                        f"training_trigger_decisions_total{{{MODEL}}}",
                        "model_name, decision",
                        "$__rate_interval",
                    ),
                    "{{model_name}} {{decision}}",
                ),
                width=12,
                style="bars",
            ),
        ],
    )
    add(
        made,
        "Jobs and versions",
        [
            graph(
                "Jobs",
                "Jobs that are not finished.",
                "none",
                Query(
                    "max by (job_type, status) "
                    f'(training_jobs{{{RELEASE}, status=~"pending|claimed|running|cancelling"}})',
                    "{{job_type}} {{status}}",
                ),
            ),
            graph(
                "Verdicts of the gate",
                "Challengers against champions on the same held-out data.",
                "none",
                Query(
                    events(
                        f"model_verdicts_total{{{MODEL}}}",
                        "model_name, passed",
                        "$__rate_interval",
                    ),
                    "{{model_name}} passed={{passed}}",
                ),
                style="bars",
            ),
            graph(
                "Requests by version",
                "The hand-over from one version to the next.",
                "reqps",
                Query(
                    "sum by (model_name, model_version) "
                    f"(rate(serving_requests_total{{{MODEL}}}[$__rate_interval]))",
                    "{{model_name}} v{{model_version}}",
                ),
            ),
            timeline(
                "Versions",
                "Which versions are loaded, and when they took over.",
                Query(
                    f"max by (model_name, model_version) (serving_loaded{{{MODEL}}})",
                    "{{model_name}} v{{model_version}}",
                ),
                words={"1": ("loaded", GREEN)},
                width=24,
            ),
        ],
    )
    return made
