"""The clock that leases, back-offs and schedules are read from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, Interval, func, literal, select
from sqlalchemy import type_coerce as as_type

from utils.training.database import UtcDateTime, utc_now

Clock = Callable[[], datetime]

_AT_ONCE = timedelta(0)


class DatabaseClock:
    """The database's own time: workers' and schedulers' hosts may be wrong about theirs.

    A SQLite file's database is this host. A clock that is given instead serves tests.
    """

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        if clock is None and engine.dialect.name == "sqlite":
            clock = utc_now
        self._clock = clock

    def after(self, delay: timedelta = _AT_ONCE) -> ColumnElement[datetime]:
        """The time in a while, as an expression within a statement."""
        if self._clock is not None:
            return literal(self._clock() + delay, UtcDateTime())
        # The statement's time, which is one value, so that an index can be searched for it.
        now = func.statement_timestamp()
        return as_type(now + literal(delay, Interval()) if delay else now, UtcDateTime())

    def read(self, connection: Connection) -> datetime:
        """The time as a value."""
        if self._clock is not None:
            return self._clock()
        return connection.execute(select(self.after())).scalar_one()
