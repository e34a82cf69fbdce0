"""A job on its way: a bar in a terminal, lines in a pipe, JSON lines for a program."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import typer

from services.cli.connection import Connection
from services.cli.errors import ExitCode
from services.cli.job_view import job_sentence
from services.cli.output import duration, number, print_json, say
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.jobs import Progress
from utils.training.job_queue import Job, JobEvent

_PATIENCE_SECONDS = 120.0  # for a scheduler that is restarted
_LINE_SECONDS = 5.0  # between two lines of one phase: a log is read, not watched
_WAITING = "waiting"
_WIDEST_BAR = 40  # characters


class View(Protocol):
    """Shows what happens to a job."""

    def show(self, event: JobEvent | Progress) -> None:
        """Show one event."""


def watch_job(connection: Connection, job_id: int, *, as_json: bool) -> None:
    """Show a job until its end, and its end.

    Raises:
        typer.Exit: with code 4; the job did not complete.
    """
    with connection.scheduler("reader", _PATIENCE_SECONDS) as scheduler, _left_alone(job_id):
        job = follow(scheduler, job_id, _json() if as_json else live_view(job_id))
    if not as_json:
        say(job_sentence(job))
    _exit_as(job)


def follow(scheduler: SchedulerClient, job_id: int, view: AbstractContextManager[View]) -> Job:
    """Show what happens to a job until its end, and return it."""
    with view as shown:
        for event in scheduler.events(job_id):
            shown.show(event)
    return scheduler.get_job(job_id)


def live_view(job_id: int) -> AbstractContextManager[View]:
    """A bar in a terminal, lines in a pipe."""
    return _bar(job_id) if sys.stdout.isatty() else _lines()


def wait_for(connection: Connection, job_id: int, *, as_json: bool) -> None:
    """Wait for a job's end without a word, and tell that.

    Raises:
        typer.Exit: with code 4; the job did not complete.
    """
    with connection.scheduler("reader", _PATIENCE_SECONDS) as scheduler, _left_alone(job_id):
        for _ in scheduler.events(job_id):
            continue
        job = scheduler.get_job(job_id)
    if as_json:
        print_json(job)
    else:
        say(job_sentence(job))
    _exit_as(job)


def fraction(job: Job) -> str:
    """How much of a job is done, as far as its trainer has said."""
    progress = job.progress or {}
    total = progress.get("total_steps")
    if job.status == "completed" or not total:
        return ""
    return f"{100 * progress.get('step', 0) / total:.0f} %"


def _exit_as(job: Job) -> None:
    if job.status != "completed":
        raise typer.Exit(ExitCode.JOB_FAILED)


@contextmanager
def _left_alone(job_id: int) -> Iterator[None]:
    """Who stops watching is told that the job does not stop."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(
            f"Job {job_id} goes on: `trainctl watch {job_id}` shows it, "
            f"`trainctl cancel {job_id}` stops it.\n"
        )
        raise


@contextmanager
def _json() -> Iterator[View]:
    class Json:
        def show(self, event: JobEvent | Progress) -> None:
            kind = "status" if isinstance(event, JobEvent) else "progress"
            print_json({"event": kind, "data": event})

    yield Json()


@contextmanager
def _lines() -> Iterator[View]:
    class Lines:
        phase: str | None = None
        said_at = -math.inf

        def show(self, event: JobEvent | Progress) -> None:
            if isinstance(event, JobEvent):
                why = f": {event.reason}" if event.reason else ""
                say(f"{event.at:%H:%M:%S} {event.to_status.value}{why}")
            elif event.phase != self.phase or time.monotonic() - self.said_at > _LINE_SECONDS:
                self.phase, self.said_at = event.phase, time.monotonic()
                step, *others = _numbers(event)
                said = [event.phase or "", step and f"step {step}", *others]
                say("  " + ", ".join(word for word in said if word))

    yield Lines()


@contextmanager
def _bar(job_id: int) -> Iterator[View]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column
    from rich.text import Text

    with Bar(
        TextColumn(f"job {job_id}"),
        TextColumn("{task.description}", style="bold"),
        BarColumn(bar_width=None, table_column=Column(max_width=_WIDEST_BAR)),
        TextColumn("{task.fields[said]}"),
        expand=True,
        transient=True,  # what became of the job is said instead
    ) as bar:
        task = bar.add_task(_WAITING, total=None, said="")

        class Shown:
            def show(self, event: JobEvent | Progress) -> None:
                if isinstance(event, JobEvent):
                    bar.update(task, description=event.to_status.value)
                    if event.reason:
                        bar.console.print(Text(f"{event.at:%H:%M:%S} {event.reason}"))
                    return
                said = "  ".join(word for word in _numbers(event) if word)
                bar.update(task, description=event.phase or "running", said=said)
                if event.total_steps:  # only training counts steps
                    bar.update(task, completed=event.step, total=event.total_steps)

        yield Shown()


def _numbers(event: Progress) -> tuple[str, ...]:
    return (
        f"{event.step}/{event.total_steps}" if event.total_steps else "",
        f"loss {number(event.loss)}" if event.loss is not None else "",
        f"{event.samples_per_second:.0f} samples/s" if event.samples_per_second else "",
        f"{duration(event.seconds_left)} left" if event.seconds_left is not None else "",
    )
