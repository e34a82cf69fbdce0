"""Bring a database's tables to this code's version: ``python -m utils.training.database``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from utils.training import migrations
from utils.training.database.engine import create_unmigrated


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
    engine = create_unmigrated(given.location)
    if given.command == "upgrade":
        migrations.upgrade(engine)
    elif given.command == "downgrade":
        migrations.downgrade(engine, given.revision)
    sys.stdout.write(f"{migrations.current(engine) or 'empty'}\n")
    engine.dispose()


if __name__ == "__main__":
    main()
