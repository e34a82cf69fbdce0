"""Write the next step from what the stores' tables have and the steps so far lack.

``python -m utils.training.migrations "Jobs and schedules"``; then read the file and run the tests.
"""

from __future__ import annotations

import sys

from alembic import command

from utils.training import migrations
from utils.training.database import open_database
from utils.training.migrations.tables import declare_all


def main(message: str) -> None:
    """Compare on an empty SQLite database in memory."""
    declare_all()
    revision = f"{len(migrations.revisions()) + 1:04}"
    engine = open_database(":memory:")
    with migrations.migrating(engine) as config:
        command.revision(config, message, autogenerate=True, rev_id=revision)


if __name__ == "__main__":
    main(sys.argv[1])
