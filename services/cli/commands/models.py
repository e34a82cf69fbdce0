"""Models: list, show, compare, promote, roll back, ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from services.cli.completion import model_ids, model_names
from services.cli.groups import Command, ListByDefault
from services.cli.options import AsJson, Folder

ModelId = Annotated[
    int, typer.Argument(min=1, help="The model's number.", autocompletion=model_ids)
]
ModelName = Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)]
Tag = Literal["production", "staging", "experimental", "retired"]
_PANEL = "Models"

models = typer.Typer(
    cls=ListByDefault, help="List models (`models [NAME]`), or show one (`models show ID`)."
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models, name="models", rich_help_panel=_PANEL)
    for command in (compare, promote, rollback, predict):
        app.command(cls=Command, rich_help_panel=_PANEL)(command)


@models.command("list", cls=Command)
def list_models(
    name: Annotated[
        str | None, typer.Argument(help="Of this name only.", autocompletion=model_names)
    ] = None,
    tag: Annotated[Tag | None, typer.Option(help="With this tag only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List models, the newest first.

    $ trainctl models digits --tag production
    """
    from services.cli import model_view
    from services.cli.connection import connect
    from services.cli.output import print_json

    with connect(folder).registry() as registry:
        found = registry.list_models(name=name, tag=tag, limit=limit).items
    if as_json:
        print_json(found)
    else:
        model_view.show_list(found)


@models.command("show", cls=Command)
def show_model(model_id: ModelId, folder: Folder = None, as_json: AsJson = False) -> None:
    """Show a model: its metrics, its verdict, where it comes from, who promoted it.

    $ trainctl models show 1
    """
    from services.cli import model_view
    from services.cli.connection import connect
    from services.cli.output import print_json

    with connect(folder).registry() as registry:
        sheet = model_view.Sheet.of(registry, model_id)
    if as_json:
        print_json(sheet)
    else:
        model_view.show_sheet(sheet)


def compare(
    model_id: Annotated[
        list[int], typer.Argument(min=1, help="The models' numbers.", autocompletion=model_ids)
    ],
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Set models side by side, metric by metric; the best value of each is marked.

    $ trainctl compare 1 2
    """
    from services.cli import comparison
    from services.cli.connection import connect
    from services.cli.output import print_json

    with connect(folder).registry() as registry:
        compared = [registry.get_model(one) for one in model_id]
    rows = comparison.rows_of(compared)
    if as_json:
        print_json({"models": compared, "metrics": rows})
    else:
        comparison.show(compared, rows)


def promote(
    model_id: ModelId,
    tag: Annotated[Tag, typer.Option(help="Which tag it gets.")] = "production",
    force: Annotated[
        bool, typer.Option("--force", help="Without a passing verdict; wants a --reason.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Give a model another tag; serving follows within seconds.

    Production wants a passing verdict of the gate against the present production version.

    $ trainctl promote 2
    $ trainctl promote 2 --force --reason "the gate's data is out of date"
    """
    from services.cli import model_view
    from services.cli.connection import connect
    from services.cli.requests import request_of
    from utils.service.contracts.models import PromotionRequest

    request = request_of(PromotionRequest, {"tag": tag, "force": force, "reason": reason})
    with connect(folder).registry("admin" if force else "submitter") as registry:
        model_view.show_promotion(registry.promote(model_id, request), as_json=as_json)


def rollback(
    name: ModelName,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Put the production version before the present one back; serving follows within seconds.

    $ trainctl rollback digits --reason "complaints"
    """
    from services.cli import model_view
    from services.cli.connection import connect

    with connect(folder).registry("submitter") as registry:
        model_view.show_promotion(registry.rollback(name, reason), as_json=as_json)


def predict(
    name: ModelName,
    file: Annotated[
        Path | None,
        typer.Argument(
            help='JSON: a list of instances, or {"instances": […]}; "-" reads standard input.',
            allow_dash=True,
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="Ask about built-in data instead: digits.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="So many of the sample.")] = 5,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Ask the served version of a model.

    $ trainctl predict digits --sample digits
    $ trainctl predict shoes instances.json --json
    """
    from services.cli import prediction
    from services.cli.connection import connect

    asked = prediction.read_instances(file, sample, count)
    with connect(folder).service("serving") as serving:
        prediction.predict(serving, name, asked, as_json=as_json)
