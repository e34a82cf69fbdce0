"""Small statements without the price of a full execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError

Converter = Callable[[Any], Any]


class Prepared:
    """A statement that is compiled once and then run by the driver itself.

    On a row or two, SQLAlchemy's own execution costs as much as the round trip to the server. Here
    its pool, its SQL, its types' conversions and its errors are left.
    """

    def __init__(
        self, statement: Select[Any] | Insert | Update, keys: Sequence[str] | None = None
    ) -> None:
        """Take a statement.

        Args:
            statement: a SELECT, or an INSERT or UPDATE that may return columns.
            keys: the columns that an INSERT fills.
        """
        self._statement = statement
        self._keys = keys
        self._plans: dict[str, _Plan] = {}

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run it, and give the rows that it finds or returns as dictionaries."""
        plan = self._plan(connection.dialect)
        given = plan.driver_parameters(parameters)
        try:
            cursor = connection.connection.cursor()
            cursor.execute(plan.sql, given)
            return plan.rows_of(cursor)
        except plan.driver_error as error:
            raise plan.translated(error, given, connection) from error

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> None:
        """Run it, where it gives no rows."""
        plan = self._plan(connection.dialect)
        given = plan.driver_parameters(parameters)
        try:
            connection.connection.cursor().execute(plan.sql, given)
        except plan.driver_error as error:
            raise plan.translated(error, given, connection) from error

    def run_many(self, connection: Connection, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run it for each of the parameters."""
        plan = self._plan(connection.dialect)
        given = [plan.driver_parameters(each) for each in parameters]
        try:
            connection.connection.cursor().executemany(plan.sql, given)
        except plan.driver_error as error:
            raise plan.translated(error, given, connection) from error

    def _plan(self, dialect: Dialect) -> _Plan:
        plan = self._plans.get(dialect.name)
        if plan is None:
            plan = self._plans[dialect.name] = _Plan(self._statement, self._keys, dialect)
        return plan


class _Plan:
    """A statement in one database's words."""

    def __init__(
        self, statement: Select[Any] | Insert | Update, keys: Sequence[str] | None, dialect: Dialect
    ) -> None:
        compiled = statement.compile(
            dialect=dialect, column_keys=None if keys is None else list(keys)
        )
        self.sql = str(compiled)
        self.driver_error: type[Exception] = dialect.loaded_dbapi.Error
        self._dialect = dialect
        self._defaults = compiled.params
        self._order = compiled.positiontup if compiled.positional else None
        self._columns = list(statement.exported_columns)
        self._names = [str(column.key) for column in self._columns]
        self._result_converters: list[tuple[str, Converter]] | None = None
        binds = {name: b.type.dialect_impl(dialect) for b, name in compiled.bind_names.items()}
        found = ((name, kind.bind_processor(dialect)) for name, kind in binds.items())
        self._bind_converters = [(name, convert) for name, convert in found if convert is not None]

    def driver_parameters(self, parameters: Mapping[str, Any]) -> Any:
        """The parameters as the driver wants them: converted, and by name or by number."""
        given = {**self._defaults, **parameters}
        for name, convert in self._bind_converters:
            given[name] = convert(given[name])
        return given if self._order is None else [given[name] for name in self._order]

    def rows_of(self, cursor: Any) -> list[dict[str, Any]]:
        """The driver's rows as the columns' types give them."""
        if self._result_converters is None:
            self._result_converters = self._find_converters(cursor.description)
        rows = [dict(zip(self._names, row, strict=True)) for row in cursor.fetchall()]
        for name, convert in self._result_converters:
            for row in rows:
                row[name] = convert(row[name])
        return rows

    def _find_converters(self, description: Any) -> list[tuple[str, Converter]]:
        found: list[tuple[str, Converter]] = []
        for name, column, described in zip(self._names, self._columns, description, strict=True):
            kind = column.type.dialect_impl(self._dialect)
            convert = kind.result_processor(self._dialect, described[1])
            if convert is not None:
                found.append((name, convert))
        return found

    def translated(self, error: Any, parameters: Any, connection: Connection) -> BaseException:
        """The error that SQLAlchemy would raise; a connection that is lost is given up."""
        driver = connection.connection.driver_connection
        is_lost = self._dialect.is_disconnect(error, driver, None)
        if is_lost:
            connection.invalidate(error)
        return DBAPIError.instance(
            self.sql,
            parameters,
            error,
            self.driver_error,
            connection_invalidated=is_lost,
            dialect=self._dialect,
        )
