"""How points of metrics are stored: a point that comes again replaces itself."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection

from utils.training.database import utc_now
from utils.training.database.checks import check_name, check_number
from utils.training.database.engine import conflict_insert_of
from utils.training.database.prepared import Prepared
from utils.training.errors import InvalidArgumentError
from utils.training.experiment_db.records import MetricPoint
from utils.training.experiment_db.tables import run_metric, run_metric_last

Points = Mapping[str, float] | Iterable[MetricPoint | Mapping[str, Any]]

_BOUNDS = {"step": 2**63, "epoch": 2**31}
_MOMENT = timedelta(microseconds=1)


def rows_of(run_id: int, points: Iterable[MetricPoint]) -> list[dict[str, Any]]:
    """The rows of a batch, sorted by their keys, so that two batches at once can't deadlock.

    Of two points at the same place the later one in the batch counts. Points without step, epoch
    and time lie a microsecond apart.

    Raises:
        ValueError: a point has a wrong name, value, step or epoch.
    """
    now = utc_now()
    rows = {}
    for number, point in enumerate(points):
        row = _row(run_id, point, now + number * _MOMENT)
        rows[row["name"], row["axis"]] = row
    return [rows[key] for key in sorted(rows)]


def points_of(points: Points, step: int | None, epoch: int | None) -> Iterable[MetricPoint]:
    """Every form that a batch may have, as points; step and epoch hold where a point has none."""
    if isinstance(points, Mapping):
        points = [MetricPoint(name, value) for name, value in points.items()]
    for given in points:
        point = given if isinstance(given, MetricPoint) else _from_mapping(given)
        if (step is not None and point.step is None) or (epoch is not None and point.epoch is None):
            yield MetricPoint(
                point.name,
                point.value,
                step if point.step is None else point.step,
                epoch if point.epoch is None else point.epoch,
                point.time,
            )
        else:
            yield point


def write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Store a batch, and what it says of the last values."""
    if rows:
        points, last = _upserts(connection.dialect.name)
        points.run_many(connection, rows)
        last.run_many(connection, _last_of(rows))


@cache
def _upserts(dialect: str) -> tuple[Prepared, Prepared]:
    points = conflict_insert_of(dialect, run_metric)
    last = conflict_insert_of(dialect, run_metric_last)
    replace_point = points.on_conflict_do_update(
        index_elements=["run_id", "name", "axis"],
        set_={"value": points.excluded.value, "time": points.excluded.time},
    )
    replace_last = last.on_conflict_do_update(
        index_elements=["run_id", "name"],
        set_={"value": last.excluded.value, "time": last.excluded.time},
        where=last.excluded.time >= run_metric_last.c.time,
    )
    return (
        Prepared(replace_point, run_metric.c.keys()),
        Prepared(replace_last, run_metric_last.c.keys()),
    )


def _from_mapping(given: Mapping[str, Any]) -> MetricPoint:
    try:
        return MetricPoint(**given)
    except TypeError as error:
        raise InvalidArgumentError(
            f"A point has the keys {', '.join(map(str, given))}, allowed are name and value, and "
            "step, epoch and time."
        ) from error


def _row(run_id: int, point: MetricPoint, now: datetime) -> dict[str, Any]:
    step, epoch = _whole("step", point.step), _whole("epoch", point.epoch)
    time = now if point.time is None else _in_utc(point.time)
    places = {"epoch": epoch, "step": step}
    axis = " ".join(f"{name}={value}" for name, value in places.items() if value is not None)
    return {
        "run_id": run_id,
        "name": check_name("A metric's name", point.name),
        "axis": axis or f"time={time.isoformat()}",
        "step": step,
        "epoch": epoch,
        "value": check_number(f"The metric '{point.name}'", point.value),
        "time": time,
    }


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _whole(field: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or not 0 <= number < _BOUNDS[field]:
        raise InvalidArgumentError(f"{field} is {value!r}, allowed is a whole number from 0.")
    return number


def _last_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = last.get(row["name"])
        if known is None or _order(row) >= _order(known):
            last[row["name"]] = row
    return [{key: row[key] for key in ("run_id", "name", "value", "time")} for row in last.values()]


def _order(row: Mapping[str, Any]) -> tuple[datetime, int, int]:
    return row["time"], -1 if row["epoch"] is None else row["epoch"], row["step"] or 0
