"""How points of metrics are stored: a point that comes again replaces itself."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from utils.training.database import utc_now
from utils.training.database.batch import BatchInsert
from utils.training.database.checks import check_name, check_number
from utils.training.errors import InvalidArgumentError
from utils.training.experiment_db.records import MetricPoint
from utils.training.experiment_db.tables import run_metric, run_metric_last

Points = Mapping[str, float] | Iterable[MetricPoint | Mapping[str, Any]]


def _replace_point(insert: Any) -> Any:
    return insert.on_conflict_do_update(
        index_elements=["run_id", "name", "axis"],
        set_={"value": insert.excluded.value, "time": insert.excluded.time},
    )


def _replace_older(insert: Any) -> Any:
    return insert.on_conflict_do_update(
        index_elements=["run_id", "name"],
        set_={"value": insert.excluded.value, "time": insert.excluded.time},
        where=insert.excluded.time >= run_metric_last.c.time,
    )


_POINTS = BatchInsert(run_metric, _replace_point)
_LAST = BatchInsert(run_metric_last, _replace_older)
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
    if not isinstance(points, Iterable):
        raise InvalidArgumentError(
            f"points is {points!r}, allowed are values by name, or a list of points."
        )
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
        _POINTS.run(connection, rows)
        _LAST.run(connection, _last_of(rows))


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
