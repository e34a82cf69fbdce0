"""The tables' history, and the functions that bring a database to a point of it.

One file of ``versions/`` is one step; its number is its revision. A new one is written by hand or
by Alembic's autogenerate, and a test holds the sum of all steps against the stores' tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from utils.training.errors import TrainingError

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent
_TABLE = "alembic_version"
_LOCK = 0x7472_6169_6E  # of Postgres' advisory locks: one migration at a time


class DatabaseVersionError(TrainingError, RuntimeError):
    """A database whose tables are of another version than this code."""


@cache
def revisions() -> tuple[str, ...]:
    """Every revision that this code knows, oldest first."""
    files = sorted((_FOLDER / "versions").glob("[0-9]*_*.py"))
    return tuple(file.name.partition("_")[0] for file in files)


def current(engine: Engine) -> str | None:
    """The revision of a database; None where it is empty."""
    with engine.connect().execution_options(reads_only=True) as connection:
        try:
            revision: str | None = connection.execute(
                text(f"SELECT version_num FROM {_TABLE}")  # noqa: S608 - a constant of this file
            ).scalar()
        except DBAPIError:
            connection.rollback()
            if inspect(connection).has_table(_TABLE):
                raise
            return None
    return revision


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest revision; one SELECT where they are there already.

    Raises:
        DatabaseVersionError: they are newer than this code.
    """
    revision = current(engine)
    if revision == revisions()[-1]:
        return
    _refuse_unknown(revision)
    with migrating(engine) as config:
        from alembic import command

        command.upgrade(config, "head")


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to an older revision, or to ``base``: what is newer is lost."""
    with migrating(engine) as config:
        from alembic import command

        command.downgrade(config, revision)


def check(engine: Engine) -> None:
    """See that the tables are of this code's revision.

    Raises:
        DatabaseVersionError: they are not.
    """
    revision = current(engine)
    _refuse_unknown(revision)
    if revision != revisions()[-1]:
        raise DatabaseVersionError(
            f"The database is at revision {revision or 'none'}, this code needs "
            f"{revisions()[-1]}; run `python -m utils.training.database upgrade` on it."
        )


def _refuse_unknown(revision: str | None) -> None:
    if revision is not None and revision not in revisions():
        raise DatabaseVersionError(
            f"The database is at revision {revision}, this code knows revisions up to "
            f"{revisions()[-1]}; install the training-engine that wrote it, or a newer one."
        )


@contextmanager
def migrating(engine: Engine) -> Iterator[Config]:
    """Alone with the database, in one transaction that ends with the block."""
    with engine.connect() as connection, _without_foreign_keys(connection), connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield configuration(connection)


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by copying it, which must not touch the rows that point to it."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for this folder and an open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
