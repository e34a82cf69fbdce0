"""What every store has: an engine, and a guard before its writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine

from utils.training.database.engine import open_database

Guard = Callable[[Connection], None]
"""Called first in a writing transaction; it raises where the write must not happen."""


def unguarded(_: Connection) -> None:
    """Let every write happen."""


class Store:
    """Tables in a database: SQLite for a path, Postgres for a URL.

    A store may be used by several threads and processes at once, and as a context manager that
    closes its connections.
    """

    def __init__(self, location: str | Path | Engine, *, guard: Guard = unguarded) -> None:
        """Open the database, and bring its tables up to date.

        Args:
            location: a path or ``sqlite:///`` URL, a ``postgresql://`` URL, or an engine of
                :func:`~utils.training.database.open_database` to share.
            guard: called first in each writing transaction; it raises to refuse the write.
        """
        self._engine = open_database(location)
        self._reader = self._engine.execution_options(reads_only=True)
        self._guard = guard

    def guarded_by(self, guard: Guard) -> Self:
        """The same store, whose writes ask this guard first, in their own transaction.

        A worker's fencing token is checked so: a stale one can't slip in between check and write.
        """
        guarded = copy(self)
        guarded._guard = guard  # noqa: SLF001 - of its own class
        return guarded

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reading(self) -> Connection:
        """As :func:`~utils.training.database.reading`, with its option made once."""
        return self._reader.connect()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            self._guard(connection)
            yield connection
