"""Jobs: submit, list, look, cancel, watch, read their logs, bring them data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from services.cli.completion import job_ids, model_names
from services.cli.groups import Command
from services.cli.options import AsJson, Folder

JobId = Annotated[int, typer.Argument(min=1, help="The job's number.", autocompletion=job_ids)]
JobType = Literal["training", "evaluation", "export"]
Status = Literal["pending", "claimed", "running", "cancelling", "completed", "failed", "cancelled"]
_PANEL = "Jobs"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, jobs, job, cancel, watch, logs, upload):
        app.command(cls=Command, rich_help_panel=_PANEL)(command)


def submit(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="YAML or JSON: a job (job_type, config, …) or the config of a training.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="Train on built-in data instead: digits, cells or text.")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="What the model is called; the sample's name by default.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the sample.")] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="9 is first; 0 by default.")
    ] = None,
    after: Annotated[
        list[int] | None, typer.Option(help="Wait for this job; may be given several times.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=20, help="How often it is tried; 3 by default.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show its progress.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, silently.")] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Put a job into the queue.

    With --watch or --wait the exit code is 4 where the job does not complete.

    $ trainctl submit job.yaml --watch
    $ trainctl submit --sample digits --model-name scans --epochs 5 --wait --json
    """
    from services.cli.connection import connect
    from services.cli.errors import UsageError
    from services.cli.submission import read_submission
    from services.cli.watching import wait_for, watch_job

    if watch and wait:
        raise UsageError("Give either --watch or --wait.")
    changes = {
        "priority": priority,
        "after": after,
        "max_attempts": max_attempts,
        "reason": reason,
    }
    submission = read_submission(file, sample, model_name, epochs, changes)
    connection = connect(folder)
    with connection.scheduler() as scheduler:
        submitted = scheduler.submit(**submission.model_dump())
    if watch:
        watch_job(connection, submitted.job_id, as_json=as_json)
    elif wait:
        wait_for(connection, submitted.job_id, as_json=as_json)
    else:
        _show_job(submitted, as_json=as_json, brief=True)


def jobs(
    status: Annotated[
        Status | None,
        typer.Option(metavar="STATUS", help=f"In one status: {', '.join(get_args(Status))}."),
    ] = None,
    job_type: Annotated[
        JobType | None,
        typer.Option(
            "--type", metavar="TYPE", help=f"Of one type: {', '.join(get_args(JobType))}."
        ),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option("--model", autocompletion=model_names, help="Of one model.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first.

    $ trainctl jobs --status failed --model digits
    """
    from services.cli.connection import connect
    from services.cli.output import ago, print_json, print_table
    from services.cli.watching import fraction

    with connect(folder).scheduler("reader") as scheduler:
        page = scheduler.list_jobs(
            status=status,
            job_type=job_type,
            model_name=model_name,
            limit=limit,
        )
    if as_json:
        print_json(page.items)
        return
    rows = (
        (
            found.job_id,
            found.job_type,
            found.model_name,
            found.status.value,
            fraction(found),
            f"{found.attempt}/{found.max_attempts}",
            ago(found.submitted_at),
            found.error.splitlines()[0] if found.error else found.reason,
        )
        for found in page.items
    )
    columns = (">job", "type", "model", "status", ">done", ">try", ">age", "~about it")
    print_table(columns, rows, "There are no such jobs.")


def job(job_id: JobId, folder: Folder = None, as_json: AsJson = False) -> None:
    """Show a job and what has happened to it.

    $ trainctl job 1
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, print_table

    with connect(folder).scheduler("reader") as scheduler:
        found = scheduler.get_job(job_id)
        history = scheduler.history(job_id)
    if as_json:
        print_json({"job": found, "history": history})
        return
    _show_job(found, as_json=False)
    rows = (
        (f"{event.at:%H:%M:%S}", event.to_status.value, event.attempt, event.actor, event.reason)
        for event in history
    )
    columns = ("at (UTC)", "status", ">try", "by", "~why")
    print_table(columns, rows, "Nothing has happened to it.")


def cancel(
    job_id: JobId,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job; a running one saves its work and stops.

    $ trainctl cancel 1 --reason "the data is wrong"
    """
    from services.cli.connection import connect

    with connect(folder).scheduler() as scheduler:
        _show_job(scheduler.cancel(job_id, reason), as_json=as_json, brief=True)


def watch(job_id: JobId, folder: Folder = None, as_json: AsJson = False) -> None:
    """Follow a job to its end: progress, loss, rate, time left.

    It goes on over a restart of the scheduler. Exit code 4 where the job does not complete.

    $ trainctl watch 1
    """
    from services.cli.connection import connect
    from services.cli.watching import watch_job

    watch_job(connect(folder), job_id, as_json=as_json)


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on to the job's end.")] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="BYTES", help="Only the last so many bytes.")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Print a job's log.

    $ trainctl logs 1 --follow
    $ trainctl logs 1 --tail 2000
    """
    from services.cli.connection import connect
    from services.cli.job_logs import print_log

    print_log(connect(folder), job_id, follow=follow, tail_bytes=tail, as_json=as_json)


def upload(
    path: Annotated[Path, typer.Argument(help="A file, or a folder to pack.", exists=True)],
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Bring data into the artifact store, and print what jobs name it by.

    The token must be of the role trainer or admin.

    $ trainctl upload shoes.csv
    """
    from services.cli import uploading
    from services.cli.connection import connect
    from services.cli.output import print_json, say

    with connect(folder).registry("trainer") as registry:
        location = uploading.upload(registry, path)
    if as_json:
        print_json({"location": location})
    else:
        say(location)


def _show_job(found: object, *, as_json: bool, brief: bool = False) -> None:
    from services.cli.job_view import job_sentence, job_sheet
    from services.cli.output import print_json, say
    from utils.training.job_queue import Job

    assert isinstance(found, Job)
    if as_json:
        print_json(found)
    elif brief:
        say(job_sentence(found))
    else:
        job_sheet(found)
