"""Small reads without the price of a full execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Dialect, Select

Converter = Callable[[Any], Any]


class PreparedSelect:
    """A SELECT that is compiled once and then run by the driver itself.

    On a row or two, SQLAlchemy's own execution costs as much as the round trip to the server. Here
    only its pool, its SQL and its columns' conversions are left. Parameters are numbers and
    strings, which go to the driver as they are.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        self._plans: dict[str, _Plan] = {}

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the statement finds, as dictionaries."""
        dialect = connection.dialect
        plan = self._plans.get(dialect.name)
        if plan is None:
            plan = self._plans[dialect.name] = _Plan(self._statement, dialect)
        try:
            cursor = connection.connection.cursor()
            cursor.execute(plan.sql, plan.ordered(parameters))
            return plan.converted(cursor)
        except dialect.loaded_dbapi.Error:
            # The ordinary way fails alike, and knows what to do then.
            return [dict(row) for row in connection.execute(self._statement, parameters).mappings()]


class _Plan:
    """A statement in one database's words."""

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._defaults = compiled.params
        self._order = compiled.positiontup if compiled.positional else None
        self._columns = list(statement.selected_columns)
        self._names = [str(column.key) for column in self._columns]
        self._dialect = dialect
        self._converters: list[tuple[str, Converter]] | None = None

    def ordered(self, parameters: Mapping[str, Any]) -> Any:
        """The parameters as the driver wants them: by name, or by number."""
        given = {**self._defaults, **parameters}
        return given if self._order is None else [given[name] for name in self._order]

    def converted(self, cursor: Any) -> list[dict[str, Any]]:
        """The driver's rows as the columns' types give them."""
        if self._converters is None:
            self._converters = self._find_converters(cursor.description)
        found = [dict(zip(self._names, row, strict=True)) for row in cursor.fetchall()]
        for name, convert in self._converters:
            for row in found:
                row[name] = convert(row[name])
        return found

    def _find_converters(self, description: Any) -> list[tuple[str, Converter]]:
        found: list[tuple[str, Converter]] = []
        for name, column, described in zip(self._names, self._columns, description, strict=True):
            kind = column.type.dialect_impl(self._dialect)
            convert = kind.result_processor(self._dialect, described[1])
            if convert is not None:
                found.append((name, convert))
        return found
