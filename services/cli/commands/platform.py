"""The platform on this machine: up, down, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.groups import Command
from services.cli.options import AsJson, Folder
from services.cli.stack.options import Backend

_PANEL = "The platform"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, status):
        app.command(cls=Command, rich_help_panel=_PANEL)(command)


def up(
    schedulers: Annotated[int, typer.Option(min=1, max=9, help="Replicas of the scheduler.")] = 1,
    trainers: Annotated[int, typer.Option(min=1, max=32, help="Jobs that run at once.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Of each trainer's PyTorch.")] = 1,
    backend: Annotated[Backend, typer.Option(help="What computes the answers.")] = "onnx",
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Run Prometheus too; it must be on the PATH.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach/--no-detach", help="Return when all is ready.")
    ] = False,
    entry_point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Lets jobs name a function of yours that builds a model; found from the current "
            "folder or PYTHONPATH. May be given several times.",
        ),
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Start the whole platform, and keep it running.

    Ctrl-C stops it in order, a second one at once. Everything lies in the folder; models, jobs and
    data are there again at the next start.

    $ trainctl up
    $ trainctl up --detach --trainers 2 --entry-point shoes:build_model
    """
    from services.cli import running
    from services.cli.options import DEFAULT_FOLDER
    from services.cli.stack.options import StackOptions

    place = (folder or DEFAULT_FOLDER).absolute()
    entry_points = running.checked_entry_points(entry_point or [])
    if detach:
        running.run_detached(place, running.arguments_of_this_process(), as_json=as_json)
        return
    options = StackOptions(
        schedulers=schedulers,
        trainers=trainers,
        threads=threads,
        entry_points=entry_points,
        code=Path.cwd() if entry_points else None,
        backend=backend,
        prometheus=prometheus,
    )
    running.run(place, options, as_json=as_json)


def down(
    kill: Annotated[bool, typer.Option("--kill", help="At once; jobs lose their claims.")] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Stop the platform in the folder, wherever it was started. Nothing is lost.

    $ trainctl down
    """
    from services.cli import running
    from services.cli.options import DEFAULT_FOLDER

    running.stop((folder or DEFAULT_FOLDER).absolute(), kill=kill, as_json=as_json)


def status(folder: Folder = None, as_json: AsJson = False) -> None:
    """Show every service: where it is, and how it does.

    Exit code 1 where one is not ready, 3 where nothing runs.

    $ trainctl status
    """
    from services.cli import health

    health.show(folder, as_json=as_json)
