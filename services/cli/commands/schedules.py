"""Schedules: jobs that come again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from services.cli.groups import ListByDefault
from services.cli.options import AsJson, Folder

ScheduleId = Annotated[int, typer.Argument(help="The schedule's number.")]

schedules = typer.Typer(
    cls=ListByDefault, help="Jobs that come again and again; alone, it lists them."
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(schedules, name="schedules", rich_help_panel="Retraining")


@schedules.command("list")
def list_schedules(folder: Folder = None, as_json: AsJson = False) -> None:
    """List all schedules."""
    from services.cli.connection import connect
    from services.cli.output import print_json, print_table

    with connect(folder).scheduler("reader") as scheduler:
        found = scheduler.list_schedules(limit=200).items
    if as_json:
        print_json(found)
        return
    rows = (
        (
            one.schedule_id,
            one.name,
            one.schedule_expr,
            one.timezone,
            f"{one.job_type} of {one.model_name}",
            f"{one.next_run_at:%Y-%m-%d %H:%M} UTC" if one.enabled else "paused",
            "" if one.last_run_at is None else f"{one.last_run_at:%Y-%m-%d %H:%M} UTC",
            one.num_missed or "",
        )
        for one in found
    )
    columns = (">id", "name", "cron", "time zone", "job", "next", "last", ">missed")
    print_table(columns, rows, "There are no schedules.")


@schedules.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    cron: Annotated[str, typer.Argument(help='Five cron fields, such as "0 3 * * 1".')],
    file: Annotated[
        Path | None,
        typer.Argument(
            help="YAML or JSON: the job, as for submit.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    sample: Annotated[str | None, typer.Option(help="Train on built-in data instead.")] = None,
    model_name: Annotated[str | None, typer.Option(help="The sample's model.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the sample.")] = None,
    timezone: Annotated[str, typer.Option(help="Whose clock, such as Europe/Berlin.")] = "UTC",
    priority: Annotated[int, typer.Option(min=0, max=9, help="9 is first.")] = 0,
    misfire: Annotated[
        Literal["skip", "once", "all"],
        typer.Option(help="What is made up for after the scheduler was away."),
    ] = "skip",
    overlap: Annotated[
        Literal["forbid", "queue", "replace"],
        typer.Option(help="What happens while the job before is still under way."),
    ] = "forbid",
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Create a schedule."""
    from services.cli.connection import connect
    from services.cli.output import print_json, say
    from services.cli.submission import read_submission
    from utils.service.contracts.jobs import ScheduleRequest

    job = read_submission(file, sample, model_name, epochs, {})
    request = ScheduleRequest(
        name=name,
        job_type=job.job_type,
        config=job.config,
        schedule_expr=cron,
        timezone=timezone,
        priority=priority,
        misfire=misfire,
        overlap=overlap,
    )
    with connect(folder).scheduler() as scheduler:
        made = scheduler.create_schedule(request)
    if as_json:
        print_json(made)
    else:
        when = f"{made.next_run_at:%Y-%m-%d %H:%M} UTC"
        say(f"Schedule {made.schedule_id} ({made.name}) submits its next job at {when}.")


@schedules.command()
def pause(schedule_id: ScheduleId, folder: Folder = None, as_json: AsJson = False) -> None:
    """Let nothing run until it is resumed."""
    from services.cli.connection import connect
    from services.cli.output import print_json, say

    with connect(folder).scheduler() as scheduler:
        found = scheduler.pause_schedule(schedule_id)
    if as_json:
        print_json(found)
    else:
        say(f"Schedule {schedule_id} ({found.name}) is paused.")


@schedules.command()
def resume(schedule_id: ScheduleId, folder: Folder = None, as_json: AsJson = False) -> None:
    """Go on from now."""
    from services.cli.connection import connect
    from services.cli.output import print_json, say

    with connect(folder).scheduler() as scheduler:
        found = scheduler.resume_schedule(schedule_id)
    if as_json:
        print_json(found)
    else:
        when = f"{found.next_run_at:%Y-%m-%d %H:%M} UTC"
        say(f"Schedule {schedule_id} ({found.name}) submits its next job at {when}.")


@schedules.command()
def delete(schedule_id: ScheduleId, folder: Folder = None, as_json: AsJson = False) -> None:
    """Delete a schedule; its jobs stay."""
    from services.cli.connection import connect
    from services.cli.output import print_json, say

    with connect(folder).scheduler() as scheduler:
        scheduler.delete_schedule(schedule_id)
    if as_json:
        print_json({"schedule_id": schedule_id, "deleted": True})
    else:
        say(f"Schedule {schedule_id} is deleted.")


@schedules.command()
def preview(
    schedule_id: ScheduleId,
    count: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 5,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show the next times."""
    from services.cli.connection import connect
    from services.cli.output import print_json, say

    with connect(folder).scheduler("reader") as scheduler:
        times = scheduler.preview_schedule(schedule_id, count)
    if as_json:
        print_json(times)
        return
    for when in times:
        say(f"{when:%a %Y-%m-%d %H:%M} UTC")


@schedules.command()
def history(
    schedule_id: ScheduleId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of its last times."""
    from services.cli.connection import connect
    from services.cli.output import print_json, print_table

    with connect(folder).scheduler("reader") as scheduler:
        found = scheduler.schedule_history(schedule_id, limit)
    if as_json:
        print_json(found)
        return
    rows = ((f"{one.occurrence:%Y-%m-%d %H:%M}", one.job_id, one.note) for one in found)
    print_table(("at (UTC)", ">job", "note"), rows, "Its time has not come yet.")
