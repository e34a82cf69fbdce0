"""An INSERT of many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, column, func, select
from sqlalchemy.dialects import postgresql, sqlite

from utils.training.database.engine import conflict_insert_of
from utils.training.database.prepared import Prepared

Insert = postgresql.Insert | sqlite.Insert


class BatchInsert:
    """Inserts rows; on Postgres by one statement that takes an array for each column.

    A statement for each row costs the server and its client several times as much. SQLite's driver
    knows no arrays, and has no server to ask.
    """

    def __init__(self, table: Table, on_conflict: Callable[[Any], Insert]) -> None:
        """Take a table.

        Args:
            table: where the rows go.
            on_conflict: completes the INSERT by what becomes of rows that are there already.
        """
        self._table = table
        self._on_conflict = on_conflict
        self._prepared: dict[str, Prepared] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the rows, each of which has every column; no two of them may conflict."""
        dialect = connection.dialect.name
        prepared = self._prepared.get(dialect)
        if prepared is None:
            prepared = self._prepared[dialect] = self._prepare(dialect)
        if dialect == "postgresql":
            arrays = {name: [row[name] for row in rows] for name in self._table.c.keys()}  # noqa: SIM118 - of a collection of columns
            prepared.run(connection, arrays)
        else:
            prepared.run_many(connection, rows)

    def _prepare(self, dialect: str) -> Prepared:
        names = self._table.c.keys()
        insert = conflict_insert_of(dialect, self._table)
        if dialect != "postgresql":
            return Prepared(self._on_conflict(insert), names)
        arrays = [bindparam(c.key, type_=postgresql.ARRAY(c.type)) for c in self._table.c]
        rows = func.unnest(*arrays).table_valued(*(column(c.key, c.type) for c in self._table.c))
        chosen = select(*rows.render_derived().c)
        return Prepared(self._on_conflict(insert.from_select(names, chosen)))
