"""Several checkpoints of a job, and which artifacts came as checkpoints and may go again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEY = "pk_job_checkpoint"


def upgrade() -> None:
    with op.batch_alter_table("job_checkpoint") as table:
        table.drop_constraint(_KEY, type_="primary")
        table.create_primary_key(_KEY, ["job_id", "digest"])
    op.create_index(op.f("ix_job_checkpoint_digest"), "job_checkpoint", ["digest"], unique=False)
    op.create_table(
        "checkpoint_artifact",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_checkpoint_artifact")),
    )
    op.execute(
        "INSERT INTO checkpoint_artifact (digest, kept_until) "
        "SELECT digest, max(saved_at) FROM job_checkpoint GROUP BY digest"
    )


def downgrade() -> None:
    op.drop_table("checkpoint_artifact")
    op.execute(
        "DELETE FROM job_checkpoint WHERE EXISTS (SELECT 1 FROM job_checkpoint AS newer "
        "WHERE newer.job_id = job_checkpoint.job_id AND (newer.step > job_checkpoint.step OR "
        "newer.step = job_checkpoint.step AND newer.digest > job_checkpoint.digest))"
    )
    op.drop_index(op.f("ix_job_checkpoint_digest"), table_name="job_checkpoint")
    with op.batch_alter_table("job_checkpoint") as table:
        table.drop_constraint(_KEY, type_="primary")
        table.create_primary_key(_KEY, ["job_id"])
