"""Platform: whether everything is up, what it answers, what it holds, and which alerts fire."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.dashboards.parts import (
    GREEN,
    RED,
    RELEASE,
    YELLOW,
    Query,
    add,
    board,
    graph,
    number,
    timeline,
)

_OURS = f'{RELEASE}, job=~"scheduler|registry|serving|monitor"'
_REQUESTS = f"rate(http_requests_total{{{_OURS}}}[$__rate_interval])"
_FAULTS = f'rate(http_requests_total{{{_OURS}, status=~"5.."}}[$__rate_interval])'
_UP = {"1": ("up", GREEN), "0": ("down", RED)}


def build() -> Dashboard:
    """The dashboard for whoever runs the cluster."""
    made = board("platform", "Platform", "Services, database, disks and alerts.", has_models=False)
    add(
        made,
        "Now",
        [
            number(
                "Replicas up",
                "That answer Prometheus.",
                "none",
                Query(f"sum by (job) (up{{{_OURS}}})", "{{job}}"),
                width=8,
            ),
            number(
                "Database",
                "Whether the scheduler can read the jobs table.",
                "none",
                Query(f"min(training_database_up{{{RELEASE}}})", "jobs table"),
                words=_UP,
            ),
            number(
                "Alerts firing",
                "By severity; the rules are files/rules.yaml of the chart.",
                "none",
                Query(
                    f'count by (severity) (ALERTS{{{RELEASE}, alertstate="firing"}}) or vector(0)',
                    "{{severity}}",
                ),
                steps=[(1, RED)],
            ),
            number(
                "Stream not read",
                "Predictions that wait for the monitor.",
                "none",
                Query(f"max(drift_stream_lag{{{RELEASE}}})", "entries"),
                steps=[(10000, YELLOW), (50000, RED)],
            ),
            number(
                "Event streams",
                "Readers that follow a job.",
                "none",
                Query(f"sum(training_event_streams{{{RELEASE}}})", "readers"),
            ),
        ],
    )
    add(
        made,
        "Services",
        [
            timeline(
                "Up",
                "Each replica, as Prometheus finds it.",
                Query(f"up{{{_OURS}}}", "{{job}} {{instance}}"),
                words=_UP,
            ),
            graph(
                "Restarts",
                "Starts of each process within the hour before.",
                "none",
                Query(
                    f"sum by (job) (changes(process_start_time_seconds{{{_OURS}}}[1h]))", "{{job}}"
                ),
                width=12,
                steps=[(3, RED)],
            ),
            graph(
                "Requests",
                "Answered in a second, scrapes and probes included.",
                "reqps",
                Query(f"sum by (job) ({_REQUESTS})", "{{job}}"),
            ),
            graph(
                "Errors",
                "Share of answers with a server's error.",
                "percentunit",
                Query(
                    f"(sum by (job) ({_FAULTS}) or 0 * sum by (job) ({_REQUESTS}))"
                    f" / sum by (job) ({_REQUESTS})",
                    "{{job}}",
                ),
                steps=[(0.05, RED)],
            ),
            graph(
                "Latency",
                "99 of 100 answers are faster.",
                "s",
                Query(
                    "histogram_quantile(0.99, sum by (job, le) "
                    f"(rate(http_request_duration_seconds_bucket{{{_OURS}}}[$__rate_interval])))",
                    "{{job}}",
                ),
            ),
        ],
    )
    add(
        made,
        "Machine",
        [
            graph(
                "Memory",
                "Resident, of each process.",
                "bytes",
                Query(f"process_resident_memory_bytes{{{_OURS}}}", "{{job}} {{instance}}"),
                width=6,
            ),
            graph(
                "CPU",
                "Cores in use, of each process.",
                "none",
                Query(
                    f"rate(process_cpu_seconds_total{{{_OURS}}}[$__rate_interval])",
                    "{{job}} {{instance}}",
                ),
                width=6,
            ),
            graph(
                "Open files",
                "Part of what each process may open.",
                "percentunit",
                Query(
                    f"process_open_fds{{{_OURS}}} / process_max_fds{{{_OURS}}}",
                    "{{job}} {{instance}}",
                ),
                width=6,
                steps=[(0.8, RED)],
            ),
            graph(
                "Disk",
                "Free part of the disks that services write to.",
                "percentunit",
                Query(
                    f"min by (job, volume) (training_disk_free_bytes{{{RELEASE}}}"
                    f" / training_disk_size_bytes{{{RELEASE}}})",
                    "{{job}} {{volume}}",
                ),
                width=6,
            ),
        ],
    )
    add(
        made,
        "Loops",
        [
            graph(
                "Nudges",
                "Messages that tell trainers of jobs.",
                "none",
                Query(
                    f"sum(rate(training_nudges_total{{{RELEASE}}}[$__rate_interval]))", "a second"
                ),
            ),
            graph(
                "Loops of the monitor",
                "Seconds since each last succeeded, on whichever replica.",
                "s",
                Query(
                    "time() - max by (loop) "
                    f"(monitor_loop_last_success_timestamp_seconds{{{RELEASE}}})",
                    "{{loop}}",
                ),
                steps=[(300, RED)],
            ),
            graph(
                "Artifacts",
                "Bytes moved to and from the registry's store.",
                "Bps",
                Query(
                    "sum by (direction) "
                    f"(rate(model_artifact_bytes_total{{{RELEASE}}}[$__rate_interval]))",
                    "{{direction}}",
                ),
            ),
        ],
    )
    return made
