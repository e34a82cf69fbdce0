"""The clock that leases, back-offs and schedules are read from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Interval,
    bindparam,
    func,
    literal,
    select,
)
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

    def parameter(self, name: str) -> ColumnElement[datetime]:
        """The time in a while, for a statement that is built once; :meth:`values` says how long."""
        if self._clock is not None:
            return bindparam(name, type_=UtcDateTime())
        return as_type(
            func.statement_timestamp() + bindparam(name, type_=Interval()), UtcDateTime()
        )

    def values(self, **delays: timedelta) -> dict[str, Any]:
        """What a statement with these :meth:`parameter` names is executed with."""
        if self._clock is None:
            return dict(delays)
        now = self._clock()
        return {name: now + delay for name, delay in delays.items()}

    def read(self, connection: Connection) -> datetime:
        """The time as a value."""
        if self._clock is not None:
            return self._clock()
        return connection.execute(select(self.after())).scalar_one()
