"""Triggers: when a model is trained again by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.completion import model_names
from services.cli.groups import Command, ListByDefault
from services.cli.options import AsJson, Folder

ModelName = Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)]

triggers = typer.Typer(
    cls=ListByDefault, help="When a model is trained again by itself; alone, it lists the rules."
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(triggers, name="triggers", rich_help_panel="Retraining")


@triggers.command("list", cls=Command)
def list_triggers(folder: Folder = None, as_json: AsJson = False) -> None:
    """List all rules.

    $ trainctl triggers
    """
    from services.cli import trigger_view
    from services.cli.connection import connect
    from services.cli.output import print_json

    with connect(folder).scheduler("reader") as scheduler:
        found = scheduler.list_triggers(limit=200).items
    if as_json:
        print_json(found)
    else:
        trigger_view.show_list(found)


@triggers.command("set", cls=Command)
def set_trigger(
    name: ModelName,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="YAML or JSON: a rule with its job, or a job as for submit.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    sample: Annotated[str | None, typer.Option(help="Train on built-in data instead.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the sample.")] = None,
    drift_threshold: Annotated[
        float | None, typer.Option(help="Bits of a window's worst feature; 0.2 by default.")
    ] = None,
    every_days: Annotated[
        float | None, typer.Option(help="Train when the last training is so old.")
    ] = None,
    cool_down: Annotated[
        float | None, typer.Option(help="Seconds between two trainings; 3600 by default.")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Set a model's rule, from a file or for a sample; flags change what the file says.

    $ trainctl triggers set shoes rule.yaml
    $ trainctl triggers set shoes job.yaml --drift-threshold 0.3 --every-days 7
    """
    from services.cli import trigger_view
    from services.cli.connection import connect
    from services.cli.output import print_json

    changes = {
        "drift_threshold": drift_threshold,
        "time_threshold_days": every_days,
        "cool_down_seconds": cool_down,
    }
    rule = trigger_view.read_rule(name, file, sample, epochs, changes)
    with connect(folder).scheduler() as scheduler:
        made = scheduler.put_trigger(name, rule)
    if as_json:
        print_json(made)
    else:
        trigger_view.show_list([made])


@triggers.command(cls=Command)
def explain(name: ModelName, folder: Folder = None, as_json: AsJson = False) -> None:
    """Tell what would start a training now, what would not, and why.

    $ trainctl triggers explain digits
    """
    from services.cli import trigger_view
    from services.cli.connection import connect
    from services.cli.output import print_json

    with connect(folder).scheduler("reader") as scheduler:
        found = scheduler.explain_trigger(name)
    if as_json:
        print_json(found)
    else:
        trigger_view.show_explanation(found)


@triggers.command(cls=Command)
def delete(name: ModelName, folder: Folder = None, as_json: AsJson = False) -> None:
    """Drop a model's rule; what it decided stays on record.

    $ trainctl triggers delete digits
    """
    from services.cli.connection import connect
    from services.cli.output import print_json, say

    with connect(folder).scheduler() as scheduler:
        scheduler.delete_trigger(name)
    if as_json:
        print_json({"model_name": name, "deleted": True})
    else:
        say(f"The rule of {name} is deleted.")
