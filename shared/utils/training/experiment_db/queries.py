"""How runs and their points are found and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, exists, or_, select

from utils.training.database import Page, decode_cursor, from_json
from utils.training.database.paging import beyond, page_of
from utils.training.database.prepared import Prepared
from utils.training.errors import InvalidArgumentError
from utils.training.experiment_db.params import equal_texts
from utils.training.experiment_db.records import MetricPoint, Run
from utils.training.experiment_db.tables import (
    run,
    run_metric,
    run_metric_last,
    run_param,
    run_tag,
)

MetricRange = tuple[float | None, float | None]

_NOT_A_NUMBER = float("nan")  # sorts above every number on both databases
_INTERNAL = {"id", "idempotency_key", "content_digest"}
RUNS = select(run.c.id.label("run_id"), *(c for c in run.c if c.name not in _INTERNAL))
_RUN = Prepared(RUNS.where(run.c.id == bindparam("wanted")))


def _of_run(table: Table) -> Prepared:
    columns = select(table.c.name, table.c.value).where(table.c.run_id == bindparam("wanted"))
    return Prepared(columns.order_by(table.c.name))


_PARAMS, _TAGS, _LAST = map(_of_run, (run_param, run_tag, run_metric_last))

POINTS = select(
    *(run_metric.c[name] for name in ("name", "step", "epoch", "value", "time", "axis"))
)
_POINT_ORDER = (run_metric.c.name, run_metric.c.time, run_metric.c.axis)


def read_run(connection: Connection, run_id: int) -> Run | None:
    """One run, with its parameters, tags and last values."""
    wanted = {"wanted": run_id}
    rows = _RUN.rows(connection, wanted)
    if not rows:
        return None
    params, tags, metrics = (
        {row["name"]: row["value"] for row in statement.rows(connection, wanted)}
        for statement in (_PARAMS, _TAGS, _LAST)
    )
    values = {name: from_json(text) for name, text in params.items()}
    return Run(**rows[0], params=values, tags=tags, metrics=metrics)


def read_runs(connection: Connection, statement: Select[Any]) -> tuple[Run, ...]:
    """The runs of a statement over :data:`RUNS`, with their parameters, tags and last values."""
    rows = connection.execute(statement).mappings().all()
    ids = [row["run_id"] for row in rows]
    params = _by_run(connection, run_param, ids)
    tags = _by_run(connection, run_tag, ids)
    metrics = _by_run(connection, run_metric_last, ids)
    return tuple(
        Run(
            **row,
            params={name: from_json(text) for name, text in params[row["run_id"]].items()},
            tags=tags[row["run_id"]],
            metrics=metrics[row["run_id"]],
        )
        for row in rows
    )


def _by_run(connection: Connection, table: Table, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {run_id: {} for run_id in ids}
    if ids:
        statement = select(table.c.run_id, table.c.name, table.c.value)
        statement = statement.where(table.c.run_id.in_(ids)).order_by(table.c.name)
        for run_id, name, value in connection.execute(statement):
            found[run_id][name] = value
    return found


def matching(
    *,
    name: str | None = None,
    status: str | None = None,
    text: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, MetricRange] | None = None,
) -> list[ColumnElement[bool]]:
    """The conditions of a search."""
    wanted = {run.c.name: name, run.c.status: status}
    conditions: list[ColumnElement[bool]] = [c == v for c, v in wanted.items() if v is not None]
    if text is not None:
        places = (run.c.name, run.c.notes)
        conditions.append(or_(*(place.icontains(text, autoescape=True) for place in places)))
    for key, value in (params or {}).items():
        conditions.append(_has(run_param, key, run_param.c.value.in_(equal_texts(value))))
    for key, value in (tags or {}).items():
        conditions.append(_has(run_tag, key, run_tag.c.value == str(value)))
    last = run_metric_last.c.value
    for key, (low, high) in (metrics or {}).items():
        within = [last < _NOT_A_NUMBER]
        within += [] if low is None else [last >= low]
        within += [] if high is None else [last <= high]
        conditions.append(_has(run_metric_last, key, *within))
    return conditions


def _has(table: Table, name: str, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(table.c.run_id == run.c.id, table.c.name == name, *conditions)


def page(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    cursor: str | None,
) -> Page[Run]:
    """The newest runs that meet all conditions."""
    statement = RUNS.where(*conditions).order_by(run.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        last = decode_cursor(cursor, int)
        statement = statement.where(beyond([run.c.id], last, descending=True))
    return page_of(read_runs(connection, statement), limit, lambda item: (item.run_id,))


def page_by_metric(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    cursor: str | None,
    metric: str,
    *,
    descending: bool,
) -> Page[Run]:
    """The runs with a last value (a number) of a metric that meet all conditions, by that value."""
    last_value = run_metric_last.c.value
    order = [last_value, run.c.id]
    statement = (
        RUNS.join_from(run, run_metric_last, run_metric_last.c.run_id == run.c.id)
        .where(*conditions, run_metric_last.c.name == metric, last_value < _NOT_A_NUMBER)
        .order_by(*(column.desc() if descending else column for column in order))
        .limit(limit + 1)
    )
    if cursor is not None:
        last = decode_cursor(cursor, float, int)
        statement = statement.where(beyond(order, last, descending=descending))
    return page_of(
        read_runs(connection, statement),
        limit,
        lambda item: (item.metrics[metric], item.run_id),
    )


def points_page(
    connection: Connection, run_id: int, name: str | None, limit: int, cursor: str | None
) -> Page[MetricPoint]:
    """A run's points, by name and time."""
    statement = POINTS.where(run_metric.c.run_id == run_id).order_by(*_POINT_ORDER)
    if name is not None:
        statement = statement.where(run_metric.c.name == name)
    if cursor is not None:
        last_name, last_time, axis = decode_cursor(cursor, str, str, str)
        try:
            last = (last_name, datetime.fromisoformat(last_time), axis)
        except ValueError:
            raise InvalidArgumentError(
                f"The cursor {cursor!r} is not one that a page of this list gave."
            ) from None
        statement = statement.where(beyond(_POINT_ORDER, last))
    rows = connection.execute(statement.limit(limit + 1)).all()
    found = page_of(rows, limit, lambda row: (row.name, row.time.isoformat(), row.axis))
    points = (MetricPoint(r.name, r.value, r.step, r.epoch, r.time) for r in found.items)
    return Page(tuple(points), found.next_cursor)
