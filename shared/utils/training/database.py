"""One store, two databases: SQLite for a notebook, Postgres for the services.

Each store declares its tables on :data:`metadata` and works with the engine of
:func:`open_database`: ``with engine.begin() as connection`` for a transaction that writes,
``with reading(engine) as connection`` for single statements that read.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import math
import os
import select
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Double,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool
from sqlalchemy.types import TypeDecorator, TypeEngine

from utils.training import migrations

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER counts up by itself there
Json = JSON(none_as_null=True)  # keeps the order of keys, and NaN and infinities (see `to_json`)

Guard = Callable[[Connection], None]
"""Called first in a writing transaction; it raises where the write must not happen."""

T = TypeVar("T")

_BUSY_SECONDS = 60.0  # how long a writer of SQLite waits for the others
_NON_FINITE = "$float"


def unguarded(_: Connection) -> None:
    """Let every write happen."""


def open_database(location: str | Path | Engine, *, migrate: bool = True) -> Engine:
    """Open a database, and bring its tables up to date.

    Any number of processes may open the same fresh database at once. An engine that this function
    gave is given back, so that several stores can share its connections.

    Args:
        location: a path or ``sqlite:///`` URL is SQLite, a ``postgresql://`` URL is Postgres.
        migrate: False leaves the tables alone, for whoever may not change them.

    Raises:
        ValueError: the location is neither.
        DatabaseVersionError: the tables are newer than this code, or older with ``migrate=False``.
    """
    engine = location if isinstance(location, Engine) else _create_engine(str(location))
    if migrate:
        migrations.upgrade(engine)
    else:
        migrations.check(engine)
    return engine


def reading(engine: Engine) -> Connection:
    """A connection for statements that only read, each on its own: it opens no transaction.

    That spares two round trips on Postgres, and the writers' lock on SQLite.
    """
    if engine.dialect.name == "sqlite":
        return engine.connect().execution_options(reads_only=True)
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def conflict_insert(engine: Engine, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    if engine.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC with its zone, on both databases; a naive one is taken as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; SQLite keeps no zone."""
        if value is None:
            return None
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class _NanKeepingDouble(Double[float]):
    """SQLite makes a NaN NULL; as text it stays, and sorts above all numbers as on Postgres."""

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002 - the base class' signature
        return lambda value: "NaN" if value is not None and math.isnan(value) else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002 - as above
        return lambda value: None if value is None else float(value)


class Real(TypeDecorator[float]):
    """A double precision number that keeps NaN and infinities, and sorts NaN last."""

    impl = Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose what the database needs for it."""
        return _NanKeepingDouble() if dialect.name == "sqlite" else Double()


def to_json(value: Any, *, sort_keys: bool = False) -> str:
    """Write JSON that both databases take.

    They have no NaN, so it is written as ``{"$float": "nan"}``, and infinities alike. Paths become
    strings; arrays and their scalars become lists and numbers.

    Raises:
        ValueError: a value that has no such form.
    """
    write = partial(
        json.dumps, allow_nan=False, default=_plain, sort_keys=sort_keys, ensure_ascii=False
    )
    try:
        return write(value)
    except ValueError:
        return write(_tagged(value))
    except TypeError as error:
        raise ValueError(f"A value can't be written as JSON: {error}.") from error


def from_json(text: str | bytes) -> Any:
    """Read what :func:`to_json` wrote."""
    return json.loads(text, object_hook=_untagged)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # an array, or one of its scalars
        return value.tolist()
    raise ValueError(
        f"{value!r} is of type {type(value).__name__}, which JSON has not; "
        "give numbers, strings, lists and dictionaries."
    )


def _tagged(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else {_NON_FINITE: str(float(value))}
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in value]
    return value if value is None or isinstance(value, str | int) else _tagged(_plain(value))


def _untagged(item: dict[str, Any]) -> Any:
    if len(item) == 1 and isinstance(item.get(_NON_FINITE), str):
        return float(item[_NON_FINITE])
    return item


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of the items, and the cursor that the next call takes; None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None = None


def encode_cursor(*keys: Any) -> str:
    """Make an opaque cursor of the last row's sort keys (numbers and strings)."""
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Read the keys of :func:`encode_cursor`, which must be of these types.

    Raises:
        ValueError: no such call gave this cursor.
    """
    try:
        keys = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        fits = len(keys) == len(kinds) and all(map(isinstance, keys, kinds))
    except (binascii.Error, ValueError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"The cursor {cursor!r} is not one that a page of this list gave.")
    return tuple(keys)


def _create_engine(location: str) -> Engine:
    scheme, separator, _ = location.partition("://")
    if location and not separator:
        return _sqlite(location)
    if scheme == "sqlite":
        return _sqlite(make_url(location).database or ":memory:")
    if scheme in {"postgresql", "postgres", "postgresql+psycopg"}:
        return _postgres(location)
    raise ValueError(
        f"The database location begins with {(scheme + separator)!r}, allowed is a path or "
        "sqlite:/// URL (SQLite) or a postgresql:// URL; give one of them."
    )


def _postgres(location: str) -> Engine:
    url = make_url(location).set(drivername="postgresql+psycopg")
    settings = {
        "application_name": "training-engine",
        "connect_timeout": 10,  # seconds, as are the next two
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,  # milliseconds
    }
    engine = create_engine(
        url,
        connect_args={name: v for name, v in settings.items() if name not in url.query},
        pool_size=5,
        max_overflow=10,
        isolation_level="READ COMMITTED",  # a statement after a lock sees what the lock waited for
        json_serializer=to_json,
        json_deserializer=from_json,
    )
    event.listen(engine, "checkout", _refuse_dead)
    return _closing(engine)


def _sqlite(path: str) -> Engine:
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    # What lies in memory lives in its one connection, which the threads take in turn.
    size = {"pool_size": 1, "max_overflow": 0} if path == ":memory:" else {}
    engine = create_engine(
        "sqlite://" if path == ":memory:" else f"sqlite:///{path}",
        poolclass=QueuePool,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        json_serializer=to_json,
        json_deserializer=from_json,
        **size,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "checkout", _refuse_forked)
    return _closing(engine)


def _closing(engine: Engine) -> Engine:
    """Close the connections when nobody holds the engine any more."""
    owners: dict[Any, int] = {}  # the process that opened each connection
    event.listen(engine, "connect", lambda driver, _: owners.update({driver: os.getpid()}))
    event.listen(engine, "close", lambda driver, _: owners.pop(driver, None))
    weakref.finalize(engine, _close_own, owners)
    return engine


def _close_own(owners: dict[Any, int]) -> None:
    for driver, process in owners.items():
        if process == os.getpid():
            driver.close()


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    connection.execute("PRAGMA foreign_keys = ON")
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = NORMAL")  # survives a killed process


def _use_write_ahead_log(connection: Any) -> None:
    """Let readers and one writer work at once.

    The switch fails at once while another process makes it too: SQLite does not wait there.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except connection.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """Take the writers' lock at the start: a lock that is raised later fails at once when busy."""
    if not connection.get_execution_options().get("reads_only"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _refuse_forked(_: Any, record: Any, proxy: Any) -> None:
    """Leave a parent process' connection to the parent."""
    if record.info.setdefault("pid", os.getpid()) != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("The connection belongs to the parent process.")


def _refuse_dead(connection: Any, record: Any, proxy: Any) -> None:
    """Find out without a round trip that the server went away: an idle socket has nothing to read.

    A peer that vanished without a word is found by the keep-alives of the connection.
    """
    _refuse_forked(connection, record, proxy)
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError("The server closed the connection.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Bring a database's tables to this code's version, as the chart does before the pods start."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.training.database", description=main.__doc__
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade", help="to the newest revision").add_argument("location")
    commands.add_parser("current", help="print the revision").add_argument("location")
    down = commands.add_parser("downgrade", help="to an older revision, with loss of data")
    down.add_argument("location")
    down.add_argument("revision", help="such as 0001, or base for nothing")
    given = parser.parse_args(arguments)
    engine = _create_engine(given.location)
    if given.command == "upgrade":
        migrations.upgrade(engine)
    elif given.command == "downgrade":
        migrations.downgrade(engine, given.revision)
    sys.stdout.write(f"{migrations.current(engine) or 'empty'}\n")
    engine.dispose()


if __name__ == "__main__":
    main()
