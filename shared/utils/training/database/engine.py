"""How a database is opened, and what makes it safe for threads, processes and restarts."""

from __future__ import annotations

import os
import select
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

from utils.training import migrations
from utils.training.database.columns import from_json, to_json

_OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
_BUSY_SECONDS = 60.0  # how long a writer of SQLite waits for the others


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
    engine = location if isinstance(location, Engine) else create_unmigrated(str(location))
    if migrate:
        migrations.upgrade(engine)
    else:
        migrations.check(engine)
    return engine


def reading(engine: Engine) -> Connection:
    """A connection for statements that only read, each on its own: it opens no transaction.

    That spares two round trips on Postgres, and the writers' lock on SQLite.
    """
    return engine.connect().execution_options(reads_only=True)


def conflict_insert(engine: Engine | Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    return conflict_insert_of(engine.dialect.name, table)


def conflict_insert_of(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """The same for a dialect's name, for a statement that is made once."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def create_unmigrated(location: str) -> Engine:
    """An engine for a location, whose tables are left alone.

    Raises:
        ValueError: the location is neither a path nor a URL of SQLite or Postgres.
    """
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
        connect_args={name: v for name, v in settings.items() if name not in url.query}
        | {"autocommit": True},  # `_begin` opens the transactions
        pool_size=5,
        max_overflow=10,
        pool_reset_on_return=None,  # `_roll_back` does it, where there is something to roll back
        json_serializer=to_json,
        json_deserializer=from_json,
    )
    # A statement after a lock sees what the lock waited for.
    event.listen(engine, "begin", partial(_begin, "BEGIN ISOLATION LEVEL READ COMMITTED"))
    event.listen(engine, "checkout", _refuse_dead)
    event.listen(engine, "reset", _roll_back)
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
    # The writers' lock is taken at the start: a lock that is raised later fails at once when busy.
    event.listen(engine, "begin", partial(_begin, "BEGIN IMMEDIATE"))
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


def _begin(statement: str, connection: Connection) -> None:
    """Open a transaction, unless the connection only reads; the drivers open none by themselves."""
    if connection.get_execution_options().get("reads_only"):
        return
    try:
        connection.connection.cursor().execute(statement)
    except connection.dialect.loaded_dbapi.Error:
        connection.exec_driver_sql(statement)  # fails alike, and knows what to do then


def _roll_back(connection: Any, *_: Any) -> None:
    """Leave no transaction open on a connection that goes back to the pool."""
    status = connection.pgconn.transaction_status
    if status in _OPEN:
        connection.rollback()
    elif status != TransactionStatus.IDLE:
        connection.close()  # cut off in the middle of an answer; the next user gets another


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
    socket = record.info.get("socket")
    if socket is None:
        socket = record.info["socket"] = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
    if connection.closed or socket.poll(0):
        raise DisconnectionError("The server closed the connection.")
