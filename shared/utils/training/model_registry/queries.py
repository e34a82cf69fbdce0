"""How models are found and read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)

from utils.training.database import Page, decode_cursor
from utils.training.database.paging import beyond, page_of
from utils.training.database.prepared import Prepared
from utils.training.errors import UnknownNameError
from utils.training.model_registry.records import RegisteredModel
from utils.training.model_registry.tables import TAGS, model, model_metric, promotion

MetricRange = tuple[float | None, float | None]

_NOT_A_NUMBER = float("nan")  # sorts above every number on both databases
_UNREAD = {"id", "data_profile", "reference_profile", "idempotency_key", "content_digest"}
COLUMNS = [model.c.id.label("model_id"), *(c for c in model.c if c.name not in _UNREAD)]

_MODELS = select(*COLUMNS)
_NAMED = _MODELS.where(model.c.name == bindparam("name"))

BY_ID = Prepared(_MODELS.where(model.c.id == bindparam("model_id")))
BY_VERSION = Prepared(_NAMED.where(model.c.version == bindparam("version")))
BY_TAG_OF_NAME = Prepared(
    _NAMED.where(model.c.tag == bindparam("tag"))
    .order_by(model.c.tagged_at.desc(), model.c.id.desc())
    .limit(1)
)
_METRICS = Prepared(
    select(model_metric.c.name, model_metric.c.value).where(
        model_metric.c.model_id == bindparam("model_id")
    )
)


def read_one(
    connection: Connection, statement: Prepared, parameters: Mapping[str, Any]
) -> RegisteredModel | None:
    """The first model that a statement over :data:`COLUMNS` finds."""
    rows = statement.rows(connection, parameters)
    if not rows:
        return None
    metrics = _METRICS.rows(connection, {"model_id": rows[0]["model_id"]})
    return RegisteredModel(**rows[0], metrics={row["name"]: row["value"] for row in metrics})


def read_many(connection: Connection, statement: Select[Any]) -> tuple[RegisteredModel, ...]:
    """The models that a statement over :data:`COLUMNS` finds, their metrics read at once."""
    rows = connection.execute(statement).mappings().all()
    metrics: dict[int, dict[str, float]] = {row["model_id"]: {} for row in rows}
    if metrics:
        of_all = select(model_metric).where(model_metric.c.model_id.in_(metrics))
        for model_id, name, value in connection.execute(of_all):
            metrics[model_id][name] = value
    return tuple(RegisteredModel(**row, metrics=metrics[row["model_id"]]) for row in rows)


def names_with(connection: Connection, tag: str, as_of: datetime | None) -> list[str]:
    """The names of which a version holds a tag, or held it at a time."""
    holders = select(model.c.name).where(model.c.tag == tag)
    if as_of is not None:
        then, _ = _as_of(as_of)
        holders = select(model.c.name).where(model.c.created_at <= as_of, then == tag)
    return list(connection.scalars(holders.distinct().order_by(model.c.name)))


def holder_as_of(
    connection: Connection, tag: str, name: str, as_of: datetime
) -> RegisteredModel | None:
    """Which version of a name held a tag at a time: the one that had got it last."""
    then, since = _as_of(as_of)
    statement = (
        _MODELS.where(model.c.name == name, model.c.created_at <= as_of, then == tag)
        .order_by(func.coalesce(since, 0).desc(), model.c.id.desc())
        .limit(1)
    )
    found = read_many(connection, statement)
    return found[0] if found else None


def _as_of(time: datetime) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """A model's tag at a time, and the sequence of the change that gave it."""
    last = (
        select(
            case((promotion.c.model_id == model.c.id, promotion.c.to_tag), else_="retired"),
            promotion.c.sequence,
        )
        .where(
            or_(promotion.c.model_id == model.c.id, promotion.c.replaced_model_id == model.c.id),
            promotion.c.at <= time,
        )
        .order_by(promotion.c.sequence.desc())
        .limit(1)
    )
    tag, sequence = (
        last.with_only_columns(column).correlate(model).scalar_subquery()
        for column in last.selected_columns
    )
    return func.coalesce(tag, "experimental"), sequence


def matching(
    *,
    name: str | None = None,
    tag: str | None = None,
    task_type: str | None = None,
    training_run_id: int | None = None,
    text: str | None = None,
    metrics: Mapping[str, MetricRange] | None = None,
) -> list[ColumnElement[bool]]:
    """The conditions of a search."""
    if tag is not None and tag not in TAGS:
        raise UnknownNameError("tag", tag, TAGS)
    wanted = {
        model.c.name: name,
        model.c.tag: tag,
        model.c.task_type: task_type,
        model.c.training_run_id: training_run_id,
    }
    conditions: list[ColumnElement[bool]] = [c == v for c, v in wanted.items() if v is not None]
    if text is not None:
        places = (model.c.name, model.c.version, model.c.task_type, cast(model.c.metadata, Text))
        conditions.append(or_(*(place.icontains(text, autoescape=True) for place in places)))
    return conditions + [_has_metric(name, *bounds) for name, bounds in (metrics or {}).items()]


def _has_metric(name: str, low: float | None, high: float | None) -> ColumnElement[bool]:
    """A metric within bounds; NaN is within none, and sorts above every number."""
    value = model_metric.c.value
    conditions = [model_metric.c.model_id == model.c.id, model_metric.c.name == name]
    conditions += [value < _NOT_A_NUMBER] + ([] if low is None else [value >= low])
    conditions += [] if high is None else [value <= high]
    return exists().where(and_(*conditions))


def page(
    connection: Connection,
    conditions: list[ColumnElement[bool]],
    limit: int,
    cursor: str | None,
) -> Page[RegisteredModel]:
    """The newest models that meet all conditions."""
    if cursor is not None:
        last = decode_cursor(cursor, int)
        conditions = [*conditions, beyond([model.c.id], last, descending=True)]
    statement = _MODELS.where(*conditions).order_by(model.c.id.desc()).limit(limit + 1)
    return page_of(read_many(connection, statement), limit, lambda item: (item.model_id,))


def page_by_metric(
    connection: Connection,
    conditions: list[ColumnElement[bool]],
    limit: int,
    cursor: str | None,
    metric: str,
    *,
    descending: bool,
) -> Page[RegisteredModel]:
    """The models that have a metric (as a number) and meet all conditions, by its value."""
    order = [model_metric.c.value, model.c.id]
    conditions = [
        *conditions,
        model_metric.c.name == metric,
        model_metric.c.value < _NOT_A_NUMBER,
    ]
    if cursor is not None:
        last = decode_cursor(cursor, float, int)
        conditions.append(beyond(order, last, descending=descending))
    statement = (
        select(*COLUMNS)
        .join_from(model, model_metric, model_metric.c.model_id == model.c.id)
        .where(*conditions)
        .order_by(*(column.desc() if descending else column for column in order))
        .limit(limit + 1)
    )
    return page_of(
        read_many(connection, statement),
        limit,
        lambda item: (item.metrics[metric], item.model_id),
    )


def by_ids(connection: Connection, ids: list[int]) -> tuple[RegisteredModel, ...]:
    """The models of these ids that exist, in the order of the ids."""
    statement = _MODELS.where(model.c.id.in_(ids))
    found = {item.model_id: item for item in read_many(connection, statement)}
    return tuple(found[model_id] for model_id in ids if model_id in found)


def ancestors(connection: Connection, model_id: int) -> tuple[RegisteredModel, ...]:
    """Parent, its parent, and so on."""
    tree = (
        select(model.c.parent_model_id.label("id"), literal(1).label("depth"))
        .where(model.c.id == model_id)
        .cte(recursive=True)
    )
    tree = tree.union_all(
        select(model.c.parent_model_id, tree.c.depth + 1).where(model.c.id == tree.c.id)
    )
    ids = connection.scalars(select(tree.c.id).where(tree.c.id.is_not(None)).order_by(tree.c.depth))
    return by_ids(connection, list(ids))


def descendants(connection: Connection, model_id: int) -> tuple[RegisteredModel, ...]:
    """Children, then their children, and so on."""
    tree = (
        select(model.c.id, literal(1).label("depth"))
        .where(model.c.parent_model_id == model_id)
        .cte(recursive=True)
    )
    tree = tree.union_all(
        select(model.c.id, tree.c.depth + 1).where(model.c.parent_model_id == tree.c.id)
    )
    ids = connection.scalars(select(tree.c.id).order_by(tree.c.depth, tree.c.id))
    return by_ids(connection, list(ids))
