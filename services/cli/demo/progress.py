"""A job's progress while it runs: a bar on a terminal, a line for each phase anywhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.jobs import Progress
from utils.training.job_queue import Job, JobEvent


def follow(scheduler: SchedulerClient, job_id: int, console: Console) -> Job:
    """Show a job until it is finished, and return it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"job {job_id}", visible=False)
        phase = None
        for event in scheduler.events(job_id):
            if isinstance(event, JobEvent):
                _say(bar, f"job {job_id} is {event.to_status}")
                continue
            if event.phase != phase:
                phase = event.phase
                _say(bar, f"job {job_id}: {phase}")
            bar.update(
                task,
                description=_words(event),
                completed=event.step,
                total=event.total_steps,
                visible=event.total_steps is not None,
            )
    return scheduler.get_job(job_id)


def _say(bar: Bar, text: str) -> None:
    bar.console.print(f"          {text}", style="dim", highlight=False)


def _words(progress: Progress) -> str:
    loss = "" if progress.loss is None else f", loss {progress.loss:.4g}"
    return f"epoch {(progress.epoch or 0) + 1}{loss}"
