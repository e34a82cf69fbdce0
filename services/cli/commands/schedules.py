"""Schedules: jobs that come again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from services.cli.completion import schedule_names
from services.cli.groups import Command, ListByDefault
from services.cli.options import AsJson, Folder

ScheduleRef = Annotated[
    str, typer.Argument(help="The schedule's name or number.", autocompletion=schedule_names)
]

schedules = typer.Typer(
    cls=ListByDefault, help="Jobs that come again and again; alone, it lists them."
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(schedules, name="schedules", rich_help_panel="Retraining")


@schedules.command("list", cls=Command)
def list_schedules(folder: Folder = None, as_json: AsJson = False) -> None:
    """List all schedules.

    $ trainctl schedules
    """
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
            f"{one.next_run_at:%Y-%m-%d %H:%M}" if one.enabled else "paused",
            "" if one.last_run_at is None else f"{one.last_run_at:%Y-%m-%d %H:%M}",
            one.num_missed or "",
        )
        for one in found
    )
    columns = (
        ">id",
        "name",
        "cron",
        "time zone",
        "~job",
        "next (UTC)",
        "last (UTC)",
        ">missed",
    )
    print_table(columns, rows, "There are no schedules.")


@schedules.command(cls=Command)
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
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="9 is first; 0 by default.")
    ] = None,
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
    """Create a schedule; the job is the same file as for submit.

    $ trainctl schedules create nightly "0 3 * * *" job.yaml --timezone Asia/Tokyo
    $ trainctl schedules create hourly @hourly --sample digits --misfire once
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, say
    from services.cli.requests import request_of
    from services.cli.schedule_view import next_sentence
    from services.cli.submission import read_recurring
    from utils.service.contracts.jobs import ScheduleRequest

    job = read_recurring(file, sample, model_name, epochs)
    what = job.model_dump(include={"job_type", "config", "priority", "max_attempts", "resources"})
    when = {
        "name": name,
        "schedule_expr": cron,
        "timezone": timezone,
        "misfire": misfire,
        "overlap": overlap,
    }
    changes = {} if priority is None else {"priority": priority}
    request = request_of(ScheduleRequest, what | when | changes)
    with connect(folder).scheduler() as scheduler:
        made = scheduler.create_schedule(request)
    if as_json:
        print_json(made)
    else:
        say(next_sentence(made))


@schedules.command(cls=Command)
def pause(schedule: ScheduleRef, folder: Folder = None, as_json: AsJson = False) -> None:
    """Let nothing run until it is resumed.

    $ trainctl schedules pause nightly
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, say
    from services.cli.schedule_view import find_schedule

    with connect(folder).scheduler() as scheduler:
        found = scheduler.pause_schedule(find_schedule(scheduler, schedule).schedule_id)
    if as_json:
        print_json(found)
    else:
        say(f"Schedule {found.schedule_id} ({found.name}) is paused.")


@schedules.command(cls=Command)
def resume(schedule: ScheduleRef, folder: Folder = None, as_json: AsJson = False) -> None:
    """Go on from now.

    $ trainctl schedules resume nightly
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, say
    from services.cli.schedule_view import find_schedule, next_sentence

    with connect(folder).scheduler() as scheduler:
        found = scheduler.resume_schedule(find_schedule(scheduler, schedule).schedule_id)
    if as_json:
        print_json(found)
    else:
        say(next_sentence(found))


@schedules.command(cls=Command)
def delete(schedule: ScheduleRef, folder: Folder = None, as_json: AsJson = False) -> None:
    """Delete a schedule; its jobs stay.

    $ trainctl schedules delete nightly
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, say
    from services.cli.schedule_view import find_schedule

    with connect(folder).scheduler() as scheduler:
        found = find_schedule(scheduler, schedule)
        scheduler.delete_schedule(found.schedule_id)
    if as_json:
        print_json({"schedule_id": found.schedule_id, "name": found.name, "deleted": True})
    else:
        say(f"Schedule {found.schedule_id} ({found.name}) is deleted.")


@schedules.command(cls=Command)
def preview(
    schedule: ScheduleRef,
    count: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 5,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show the next times.

    $ trainctl schedules preview nightly --count 3
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, say
    from services.cli.schedule_view import find_schedule, in_both_zones

    with connect(folder).scheduler("reader") as scheduler:
        found = find_schedule(scheduler, schedule)
        times = scheduler.preview_schedule(found.schedule_id, count)
    if as_json:
        print_json(times)
        return
    for when in times:
        say(in_both_zones(when, found.timezone))


@schedules.command(cls=Command)
def history(
    schedule: ScheduleRef,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of its last times: a job, or why there was none.

    $ trainctl schedules history nightly
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, print_table
    from services.cli.schedule_view import find_schedule

    with connect(folder).scheduler("reader") as scheduler:
        number = find_schedule(scheduler, schedule).schedule_id
        found = scheduler.schedule_history(number, limit)
    if as_json:
        print_json(found)
        return
    rows = ((f"{one.occurrence:%Y-%m-%d %H:%M}", one.job_id, one.note) for one in found)
    print_table(("at (UTC)", ">job", "~note"), rows, "Its time has not come yet.")
