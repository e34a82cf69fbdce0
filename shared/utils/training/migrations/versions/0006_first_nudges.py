"""A job is announced once; what is announced again is looked up in the order of claims."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CLAIMABLE = "status = 'pending' AND unmet_dependencies = 0"


def upgrade() -> None:
    _index_nudges(f"{_CLAIMABLE} AND num_nudges = 0")


def downgrade() -> None:
    _index_nudges(f"{_CLAIMABLE} AND num_nudges >= 0")


def _index_nudges(condition: str) -> None:
    op.drop_index("ix_job_nudge", table_name="job")
    where = sa.text(condition)
    op.create_index(
        "ix_job_nudge", "job", ["nudge_after"], postgresql_where=where, sqlite_where=where
    )
