"""Bring a database's tables to this code's version: ``python -m utils.training.database``.

A location holds a password, and every process may read another's arguments: without an argument
it is read from ``TRAINING_DATABASE_URL``, or from the file that ``TRAINING_DATABASE_URL_FILE``
names.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from utils.training import migrations
from utils.training.database.engine import create_unmigrated
from utils.training.migrations import DatabaseVersionError

_VARIABLE = "TRAINING_DATABASE_URL"
_PAUSE_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Bring a database's tables to this code's version, as the chart does before the pods start."""
    parser = _parser()
    given = parser.parse_args(arguments)
    location = given.location or _from_environment(os.environ)
    if location is None:
        parser.error(f"No location is given; set {_VARIABLE} or {_VARIABLE}_FILE, or name one.")
    engine = create_unmigrated(location)
    if given.command == "upgrade":
        _patiently(given.patience, migrations.upgrade, engine, OperationalError)
    elif given.command == "wait":
        _patiently(
            given.patience, migrations.check, engine, (OperationalError, DatabaseVersionError)
        )
    elif given.command == "downgrade":
        migrations.downgrade(engine, given.revision)
    sys.stdout.write(f"{migrations.current(engine) or 'empty'}\n")
    engine.dispose()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.training.database", description=main.__doc__
    )
    commands = parser.add_subparsers(dest="command", required=True)
    upgrade = commands.add_parser("upgrade", help="to the newest revision")
    wait = commands.add_parser("wait", help="until somebody has upgraded it to this code's version")
    for command, seconds in ((upgrade, 0.0), (wait, 300.0)):
        command.add_argument(
            "--patience",
            type=float,
            default=seconds,
            metavar="SECONDS",
            help=f"how long to try again while it is not there; {seconds:g} where nothing is said",
        )
    commands.add_parser("current", help="print the revision")
    down = commands.add_parser("downgrade", help="to an older revision, with loss of data")
    for command in commands.choices.values():
        command.add_argument("location", nargs="?", help=f"a path or URL; else {_VARIABLE}[_FILE]")
    down.add_argument("revision", help="such as 0001, or base for nothing")
    return parser


def _from_environment(environ: Mapping[str, str]) -> str | None:
    if file := environ.get(f"{_VARIABLE}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return environ.get(_VARIABLE)


def _patiently(
    seconds: float,
    step: Callable[[Engine], None],
    engine: Engine,
    passing: type[Exception] | tuple[type[Exception], ...],
) -> None:
    """Take a step, again and again for so long while it fails in a way that may pass."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step(engine)
        except passing as error:
            if time.monotonic() >= deadline:
                raise
            sys.stderr.write(f"Not yet: {str(error).splitlines()[0]}\n")
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
