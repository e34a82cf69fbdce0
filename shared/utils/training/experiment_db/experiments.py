"""Runs of experiments, written while they happen and read at any time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from utils.training.artifact_digest import artifact_digest, artifact_size_bytes
from utils.training.database import Page, Store, content_digest, utc_now
from utils.training.database.checks import check_id, check_ids, check_mapping, check_name
from utils.training.database.engine import conflict_insert
from utils.training.database.paging import check_limit
from utils.training.errors import InvalidArgumentError, UnknownNameError
from utils.training.experiment_db import queries
from utils.training.experiment_db.errors import RunConflictError, UnknownRunError
from utils.training.experiment_db.params import flat, write_params, write_tags
from utils.training.experiment_db.points import Points, points_of, rows_of, write
from utils.training.experiment_db.records import Artifact, MetricPoint, Run
from utils.training.experiment_db.status import change_status, known_status
from utils.training.experiment_db.tables import run, run_artifact, run_metric

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_INSERT_RUN = insert(run).returning(run.c.id)
_NOT_A_NUMBER = float("nan")


class ExperimentDB(Store):
    """Runs in a database: SQLite for a path, Postgres for a URL.

    A run is ``running`` until it is ``completed``, ``failed``, ``cancelled`` or ``interrupted``;
    an interrupted or failed one may run again.
    """

    def log_run(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,
        notes: str = "",
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Begin a run.

        Args:
            name: of any number of runs; at most 255 characters.
            config: kept as given; its values are parameters too, nested ones as ``outer.inner``.
            notes: free text.
            params: further parameters.
            tags: text by name.
            idempotency_key: a retry with the same key and content gives the same id again.

        Returns:
            The run's id.

        Raises:
            RunConflictError: the key was used for something else.
            ValueError: a value is not of its kind.
        """
        config = check_mapping("config", config)
        content = {"name": check_name("name", name), "config": config, "notes": notes}
        given = {"params": check_mapping("params", params), "tags": check_mapping("tags", tags)}
        digest = None if idempotency_key is None else content_digest(content | given)
        row = content | {
            "status": "running",
            "created_at": utc_now(),
            "idempotency_key": idempotency_key,
            "content_digest": digest,
        }
        try:
            with self._writing() as connection:
                run_id: int = connection.execute(_INSERT_RUN, row).scalar_one()
                every = dict(flat(config)) | given["params"]
                write_params(connection, run_id, every)
                write_tags(connection, run_id, given["tags"])
        except IntegrityError:
            return self._begun_before(idempotency_key, digest)
        return run_id

    def _begun_before(self, key: str | None, digest: str | None) -> int:
        statement = select(run.c.id, run.c.content_digest).where(run.c.idempotency_key == key)
        with self._reading() as connection:
            run_id, stored = connection.execute(statement).one()
        if stored != digest:
            raise RunConflictError(
                f"The idempotency key '{key}' belongs to run {run_id} with another content; "
                "take a new key for a new run."
            )
        return int(run_id)

    def log_params(self, run_id: int, params: Mapping[str, Any]) -> None:
        """Add parameters; each is written once, and again only with the same value.

        Raises:
            RunConflictError: a parameter has another value already; nothing is written.
            UnknownRunError: a LookupError; there is no such run.
        """
        given = check_mapping("params", params)
        with self._writing_of(run_id) as connection:
            write_params(connection, run_id, given)

    def set_tags(self, run_id: int, tags: Mapping[str, str]) -> None:
        """Set tags; a new value replaces the old one.

        Raises:
            UnknownRunError: a LookupError; there is no such run.
        """
        given = check_mapping("tags", tags)
        with self._writing_of(run_id) as connection:
            write_tags(connection, run_id, given)

    def log_metric(
        self,
        run_id: int,
        name: str,
        value: float,
        epoch: int | None = None,
        step: int | None = None,
        time: datetime | None = None,
    ) -> None:
        """Store one value of a metric; NaN and infinities are kept.

        A second value of the metric at the same step and epoch replaces the first, so a call may be
        repeated, and a resumed run writes over what it does again. Without step and epoch, a value
        stands at its time, beside all others.

        Raises:
            UnknownRunError: a LookupError; there is no such run.
            ValueError: a name, value, step or epoch is not of its kind.
        """
        self.log_metrics(run_id, [MetricPoint(name, value, step, epoch, time)])

    def log_metrics(
        self, run_id: int, points: Points, *, step: int | None = None, epoch: int | None = None
    ) -> None:
        """Store many points in one transaction, each as :meth:`log_metric` does.

        A batch may be sent again: it replaces itself. Points with neither step nor epoch need
        their time for that.

        Args:
            run_id: of the run.
            points: :class:`MetricPoint` objects, mappings with their fields, or values by name.
            step: of the points that have none.
            epoch: of the points that have none.

        Raises:
            UnknownRunError: a LookupError; there is no such run.
            ValueError: a point is not of its kind; nothing is written.
        """
        rows = rows_of(check_id("run_id", run_id), points_of(points, step, epoch))
        with self._writing_of(run_id) as connection:
            write(connection, rows)

    def log_artifact(
        self,
        run_id: int,
        path: str | Path,
        name: str | None = None,
        *,
        digest: str | None = None,
        size_bytes: int | None = None,
    ) -> Artifact:
        """Record a file or folder; one that is recorded by the same name again replaces itself.

        Args:
            run_id: of the run.
            path: where it lies.
            name: within the run; by default the last part of the path.
            digest: SHA-256 in hexadecimal; by default computed, where the artifact is here.
            size_bytes: by default measured, where the artifact is here.

        Raises:
            UnknownRunError: a LookupError; there is no such run.
        """
        if not isinstance(path, str | PathLike):
            raise InvalidArgumentError(f"path is {path!r}, allowed is where the artifact lies.")
        place = Path(path)
        is_here = place.exists()
        artifact = Artifact(
            run_id=run_id,
            name=check_name("name", place.name if name is None else name),
            path=str(path),
            digest=artifact_digest(place) if digest is None and is_here else digest,
            size_bytes=artifact_size_bytes(place) if size_bytes is None and is_here else size_bytes,
            created_at=utc_now(),
        )
        statement = conflict_insert(self._engine, run_artifact)
        replaced = {
            c: statement.excluded[c] for c in ("path", "digest", "size_bytes", "created_at")
        }
        with self._writing_of(run_id) as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["run_id", "name"], set_=replaced),
                vars(artifact),
            )
        return artifact

    def update_run_status(self, run_id: int, status: str) -> None:
        """Say how a run stands, or ended; saying it again changes nothing.

        Raises:
            RunConflictError: the run's present status does not allow it.
            UnknownNameError: a ValueError; there is no such status.
            UnknownRunError: a LookupError; there is no such run.
        """
        known_status(status)
        run_id = check_id("run_id", run_id)
        with self._writing() as connection:
            present = change_status(connection, run_id, status)
        if present is None:
            raise _unknown([run_id])

    def get_run(self, run_id: int) -> Run | None:
        """Read one run, with its parameters, tags and last values; None where there is none."""
        run_id = check_id("run_id", run_id)
        with self._reading() as connection:
            return queries.read_run(connection, run_id)

    def list_runs(
        self,
        *,
        name: str | None = None,
        status: str | None = None,
        text: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, queries.MetricRange] | None = None,
        order_by_metric: str | None = None,
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Run]:
        """Search runs; the newest come first, unless a metric's last value orders them.

        Args:
            name: exactly.
            status: exactly.
            text: somewhere in name or notes, in any case.
            params: values by name, exactly; 1 and 1.0 are the same.
            tags: values by name, exactly.
            metrics: (lowest, highest) of the last value by name, bounds included; None is no bound,
                NaN is in none.
            order_by_metric: leaves out runs without this metric, or with NaN.
            descending: the greatest value of that metric first.
            limit: 1 to 1,000 runs.
            cursor: the ``next_cursor`` of the page before, with the same arguments.
        """
        check_limit(limit)
        if status is not None:
            known_status(status)
        conditions = queries.matching(
            name=name, status=status, text=text, params=params, tags=tags, metrics=metrics
        )
        with self._reading() as connection:
            if order_by_metric is None:
                return queries.page(connection, conditions, limit, cursor)
            return queries.page_by_metric(
                connection, conditions, limit, cursor, order_by_metric, descending=descending
            )

    def list_metric_points(
        self, run_id: int, name: str | None = None, *, limit: int = 1000, cursor: str | None = None
    ) -> Page[MetricPoint]:
        """Some of a run's points, by name and time.

        Args:
            run_id: of the run.
            name: of one metric; None for all.
            limit: 1 to 1,000 points.
            cursor: the ``next_cursor`` of the page before.

        Raises:
            UnknownRunError: a LookupError; there is no such run.
        """
        check_limit(limit)
        with self._reading() as connection:
            found = queries.points_page(connection, run_id, name, limit, cursor)
            if not found.items:
                _check_known(connection, [run_id])
        return found

    def get_metrics(self, run_id: int, name: str | None = None) -> pd.DataFrame:
        """A run's points so far: columns name, step, epoch, value and time, in that order.

        Raises:
            UnknownRunError: a LookupError; there is no such run.
        """
        from utils.training.experiment_db.frames import points_table

        c = run_metric.c
        statement = queries.POINTS.where(c.run_id == run_id)
        if name is not None:
            statement = statement.where(c.name == name)
        order = (c.name, func.coalesce(c.epoch, -1), func.coalesce(c.step, -1), c.time)
        with self._reading() as connection:
            rows = connection.execute(statement.order_by(*order)).all()
            if not rows:
                _check_known(connection, [run_id])
        return points_table(rows)

    def list_artifacts(self, run_id: int) -> tuple[Artifact, ...]:
        """What a run recorded, by name.

        Raises:
            UnknownRunError: a LookupError; there is no such run.
        """
        statement = select(run_artifact).where(run_artifact.c.run_id == run_id)
        with self._reading() as connection:
            rows = connection.execute(statement.order_by(run_artifact.c.name)).mappings().all()
            if not rows:
                _check_known(connection, [run_id])
        return tuple(Artifact(**row) for row in rows)

    def compare_runs(
        self, run_ids: Sequence[int], summary: Literal["last", "min", "max"] = "last"
    ) -> pd.DataFrame:
        """A table with one row a run, in the order given.

        One column a metric, and one ``params.<name>`` for each parameter in which the runs differ.
        A metric that is named like another column comes as ``metrics.<name>``. An id without a run
        is left out with a warning.

        Args:
            run_ids: of the runs.
            summary: which of a metric's values; NaN is neither least nor greatest.

        Raises:
            UnknownRunError: a LookupError; none of the ids has a run.
            UnknownNameError: a ValueError; there is no such summary.
        """
        from utils.training.experiment_db.frames import comparison_table

        if summary not in {"last", "min", "max"}:
            raise UnknownNameError("summary", summary, ("last", "min", "max"))
        ids = check_ids("run_ids", run_ids)
        with self._reading() as connection:
            statement = queries.RUNS.where(run.c.id.in_(ids))
            found = {item.run_id: item for item in queries.read_runs(connection, statement)}
            metrics = {key: item.metrics for key, item in found.items()}
            if summary != "last":
                metrics = _extremes(connection, ids, summary)
        missing = sorted(set(ids) - found.keys())
        if missing and not found:
            raise _unknown(missing)
        if missing:
            logger.warning("%s Compared are the others.", _unknown(missing))
        return comparison_table([found[run_id] for run_id in ids if run_id in found], metrics)

    @contextmanager
    def _writing_of(self, run_id: int) -> Iterator[Connection]:
        try:
            with self._writing() as connection:
                yield connection
        except IntegrityError as error:
            # Only the run itself can be missing: the other constraints are met by every row.
            raise _unknown([run_id]) from error


def _extremes(
    connection: Connection, run_ids: Sequence[int], summary: str
) -> dict[int, dict[str, float]]:
    c = run_metric.c
    extreme = func.min(c.value) if summary == "min" else func.max(c.value)
    statement = (
        select(c.run_id, c.name, extreme)
        .where(c.run_id.in_(run_ids), c.value < _NOT_A_NUMBER)
        .group_by(c.run_id, c.name)
    )
    found: dict[int, dict[str, float]] = {}
    for run_id, name, value in connection.execute(statement):
        found.setdefault(run_id, {})[name] = value
    return found


def _check_known(connection: Connection, run_ids: Sequence[int]) -> None:
    known = set(connection.scalars(select(run.c.id).where(run.c.id.in_(run_ids))))
    missing = sorted(set(run_ids) - known)
    if missing:
        raise _unknown(missing)


def _unknown(run_ids: Sequence[int]) -> UnknownRunError:
    listed = ", ".join(map(str, run_ids))
    return UnknownRunError(f"There is no run {listed}; begin one with log_run.")
