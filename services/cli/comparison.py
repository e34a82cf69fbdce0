"""Models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.cli.output import coloured, console, number, say, table
from utils.training.metric_direction import direction_of
from utils.training.model_registry import RegisteredModel


@dataclass(frozen=True)
class Row:
    """One metric of all models; None where a model has no such metric.

    ``best`` are the numbers of the models with the best value: none where the metric's name does
    not tell which is better, or all have the same.
    """

    metric: str
    values: tuple[float | None, ...]
    best: tuple[int, ...]


def rows_of(models: Sequence[RegisteredModel]) -> list[Row]:
    """Every metric that at least one of the models has."""
    names = sorted({name for model in models for name in model.metrics})
    return [_row(name, models) for name in names]


def show(models: Sequence[RegisteredModel], rows: Sequence[Row]) -> None:
    """A table whose best values are marked."""
    screen = console()
    heads = (f">{model.name} {model.version}\n(model {model.model_id})" for model in models)
    tags = ("tag", *(model.tag for model in models))
    values = ((row.metric, *_cells(row, models)) for row in rows)
    made = table(("metric", *heads), (tags, *values), width=screen.width)
    screen.print(made)
    if any(row.best for row in rows):
        say("* the best")


def _cells(row: Row, models: Sequence[RegisteredModel]) -> Iterator[object]:
    for model, value in zip(models, row.values, strict=True):
        is_best = model.model_id in row.best
        yield coloured(f"{number(value)} *", "bold green") if is_best else number(value)


def _row(name: str, models: Sequence[RegisteredModel]) -> Row:
    values = {model.model_id: model.metrics[name] for model in models if name in model.metrics}
    direction = direction_of(name)
    best: tuple[int, ...] = ()
    if direction is not None and len(set(values.values())) > 1:
        target = (min if direction == "lower" else max)(values.values())
        best = tuple(one for one, value in values.items() if value == target)
    return Row(name, tuple(values.get(model.model_id) for model in models), best)
