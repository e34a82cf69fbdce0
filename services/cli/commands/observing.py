"""How the models and the platform do: drift, doctor, and the demonstration."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.completion import model_names
from services.cli.demo.command import demo
from services.cli.groups import Command
from services.cli.options import AsJson, Folder

_PANEL = "Observing"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (drift, doctor):
        app.command(cls=Command, rich_help_panel=_PANEL)(command)
    app.command(cls=Command, rich_help_panel="The platform")(demo)


def drift(
    name: Annotated[
        str | None,
        typer.Argument(help="One model, feature by feature.", autocompletion=model_names),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many windows.")] = 5,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show how far what is asked of a model has moved from what it was trained on.

    $ trainctl drift
    $ trainctl drift digits --limit 20
    """
    from services.cli import drift_view
    from services.cli.connection import connect

    with connect(folder).monitor() as monitor:
        if name is None:
            drift_view.show_models(monitor, as_json=as_json)
        else:
            drift_view.show_model(monitor, name, limit, as_json=as_json)


def doctor(
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Verify the bundles of all versions."),
    ] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong: what it is, why it matters, what to do.

    The bundles of production's versions are verified. Exit code 1 where something is an error.

    $ trainctl doctor --deep
    """
    from services.cli.connection import connect
    from services.cli.doctor.examination import examine
    from services.cli.doctor.report import report
    from services.cli.errors import ExitCode

    findings = examine(connect(folder), deep=deep)
    report(findings, as_json=as_json)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(ExitCode.REFUSED)
