"""A job in words."""

from __future__ import annotations

from services.cli.output import duration, number, print_sheet, say
from utils.training.job_queue import Job


def job_sentence(job: Job) -> str:
    """Where a job stands, in a sentence."""
    what = f"Job {job.job_id} ({job.job_type}"
    what += f" of {job.model_name})" if job.model_name else ")"
    if job.status == "completed" and job.result:
        return f"{what} is completed{_outcome(job.result)}."
    why = job.error or job.status_reason
    text = f"{what} is {job.status.value}" + (f": {why}" if why else "")
    return text if text.endswith(".") else f"{text}."


def job_sheet(job: Job) -> None:
    """Everything about a job that somebody may want to know."""
    say(job_sentence(job))
    rows = {
        "submitted": f"{job.submitted_at:%Y-%m-%d %H:%M:%S} UTC",
        "why": job.reason,
        "attempt": f"{job.attempt} of {job.max_attempts}",
        "priority": job.priority,
        "waits for": f"{job.unmet_dependencies} jobs" if job.unmet_dependencies else None,
        "worker": job.worker_id,
        "took": _took(job),
        "progress": None if job.is_finished else _values(job.progress),
        "metrics": _values((job.result or {}).get("metrics")),
        "gate": "\n".join(((job.result or {}).get("verdict") or {}).get("reasons", ())) or None,
        "trace": job.trace_id,
    }
    print_sheet(rows)


def _took(job: Job) -> str | None:
    if job.started_at is None or job.finished_at is None:
        return None
    return duration((job.finished_at - job.started_at).total_seconds())


def _values(given: dict[str, object] | None) -> str | None:
    said = {name: value for name, value in (given or {}).items() if value is not None}
    return ", ".join(f"{name} {_value(value)}" for name, value in said.items()) or None


def _value(value: object) -> object:
    return number(value) if isinstance(value, float) else value


def _outcome(result: dict[str, object]) -> str:
    """What a training made, as far as its result tells."""
    version = result.get("version")
    if version is None:
        return ""
    said = f": version {version} (model {result.get('model_id')})"
    metrics, verdict = result.get("metrics"), result.get("verdict")
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        if name.startswith("held_out"):
            said += f", {name} {number(value)}"
    if isinstance(verdict, dict):
        said += f", the gate {'passed' if verdict['passed'] else 'not passed'}"
    return said + (", promoted" if result.get("promoted") else "")
