"""Training: how the runs go, what they hold of the machine, who waits."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from charts.dashboards.parts import (
    MODEL,
    RED,
    RELEASE,
    YELLOW,
    Panel,
    Query,
    add,
    board,
    graph,
    number,
)

_SCHEDULER = f'{RELEASE}, job="scheduler"'


def build() -> Dashboard:
    """From the heartbeats of running trainings; the points of finished ones are in the registry."""
    made = board("training", "Training", "Running trainings, their machines, and the queue.")
    add(
        made,
        "Now",
        [
            number(
                "Running",
                "Trainings under way.",
                "none",
                Query(f"count({_of('steps', 'model_name')}) or vector(0)", "trainings"),
            ),
            number(
                "Progress",
                "Part of the batches that are done.",
                "percentunit",
                Query(_of("progress_ratio", "model_name"), "{{model_name}}"),
                width=6,
            ),
            number(
                "Time left",
                "At the pace so far.",
                "s",
                Query(_of("remaining_seconds", "model_name"), "{{model_name}}"),
                width=6,
            ),
            number(
                "Ready",
                "Jobs that a trainer could claim now.",
                "none",
                Query(f"max by (job_type) (training_queue_ready{{{RELEASE}}})", "{{job_type}}"),
            ),
            number(
                "Failed",
                "Jobs that have failed for good, as far as they are kept.",
                "none",
                Query(
                    f'max by (job_type) (training_jobs{{{RELEASE}, status="failed"}})',
                    "{{job_type}}",
                ),
                steps=[(1, YELLOW)],
            ),
        ],
    )
    add(
        made,
        "Learning",
        [
            _line("Loss", "Of the last batch.", "loss", "none", is_log=True),
            _line("Gradient norm", "L2, before clipping.", "gradient_norm", "none", is_log=True),
            _line("Learning rate", "As scheduled.", "learning_rate", "sci"),
        ],
    )
    add(
        made,
        "Pace and machine",
        [
            _line("Rate", "Samples trained on in a second.", "samples_per_second", "none"),
            graph(
                "Utilization",
                "Part of the GPU's time; CPU cores in use, where 100 % is one.",
                "percentunit",
                Query(_of("utilization_ratio", "model_name, device"), "{{model_name}} {{device}}"),
            ),
            graph(
                "Memory",
                "The most that a run has held so far, on the host and on the GPU.",
                "bytes",
                Query(_of("memory_bytes", "model_name, device"), "{{model_name}} {{device}}"),
            ),
        ],
    )
    add(
        made,
        "Queue",
        [
            graph(
                "Jobs by status",
                "All types; finished ones as far as they are kept.",
                "none",
                Query(
                    f"sum by (status) (max by (status, job_type) (training_jobs{{{RELEASE}}}))",
                    "{{status}}",
                ),
            ),
            graph(
                "Oldest ready job",
                "How long nobody has taken it.",
                "s",
                Query(
                    f"max by (job_type) (training_queue_oldest_seconds{{{_SCHEDULER}}})",
                    "{{job_type}}",
                ),
                steps=[(900, RED)],
            ),
            graph(
                "Taken back",
                "Claims of silent trainers: those that wait, and those that the reaper took.",
                "none",
                Query(
                    f"sum(max by (job_type) (training_leases_expired{{{_SCHEDULER}}}))", "expired"
                ),
                Query(
                    f"sum(increase(training_leases_reaped_total{{{RELEASE}}}[$__rate_interval]))",
                    "reaped",
                ),
                steps=[(1, YELLOW)],
            ),
        ],
    )
    return made


def _of(metric: str, by: str) -> str:
    """A gauge of running trainings; every replica of the scheduler shows the same."""
    return f"max by ({by}) (training_job_{metric}{{{MODEL}}})"


def _line(title: str, text: str, metric: str, unit: str, *, is_log: bool = False) -> Panel:
    return graph(
        title, text, unit, Query(_of(metric, "model_name"), "{{model_name}}"), is_log=is_log
    )
