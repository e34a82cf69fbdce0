"""Jobs and schedules."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# Every new job and every change of a job's status leaves an event, whoever writes.
_ON_POSTGRES = """
CREATE FUNCTION record_job_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_event
        (job_id, at, from_status, to_status, attempt, reason, actor, transaction_id)
    VALUES (
        NEW.id,
        NEW.status_since,
        CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END,
        NEW.status,
        NEW.attempt,
        NEW.status_reason,
        NEW.status_actor,
        pg_current_xact_id()::text::bigint
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER job_submitted AFTER INSERT ON job
    FOR EACH ROW EXECUTE FUNCTION record_job_event();
CREATE TRIGGER job_changed AFTER UPDATE OF status ON job
    FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION record_job_event();
"""
_ON_SQLITE = """
CREATE TRIGGER {name} AFTER {change} ON job {condition}
BEGIN
    INSERT INTO job_event
        (job_id, at, from_status, to_status, attempt, reason, actor, transaction_id)
    VALUES (
        NEW.id,
        NEW.status_since,
        {from_status},
        NEW.status,
        NEW.attempt,
        NEW.status_reason,
        NEW.status_actor,
        0
    );
END
"""


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("job_type", sa.String(length=255), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("schedule_expr", sa.String(length=255), nullable=False),
        sa.Column("timezone", sa.String(length=255), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("model_name", sa.String(length=255), nullable=True),
        sa.Column("resources", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("misfire", sa.String(length=16), nullable=False),
        sa.Column("max_catch_up", sa.Integer(), nullable=False),
        sa.Column("misfire_grace_seconds", sa.Double(), nullable=False),
        sa.Column("overlap", sa.String(length=16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("num_missed", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("misfire IN ('skip', 'once', 'all')", name=op.f("ck_schedule_misfire")),
        sa.CheckConstraint(
            "overlap IN ('forbid', 'queue', 'replace')", name=op.f("ck_schedule_overlap")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
        sa.UniqueConstraint("name", name=op.f("uq_schedule_name")),
    )
    op.create_index(op.f("ix_schedule_next_run_at"), "schedule", ["next_run_at"], unique=False)
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_type", sa.String(length=255), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("status_actor", sa.String(length=255), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", sa.String(length=255), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("run_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("nudge_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("num_nudges", sa.Integer(), nullable=False),
        sa.Column("unmet_dependencies", sa.Integer(), nullable=False),
        sa.Column("model_name", sa.String(length=255), nullable=True),
        sa.Column("trace_id", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("resources", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column(
            "schedule_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'claimed', 'running', 'cancelling', "
            "'completed', 'failed', 'cancelled')",
            name=op.f("ck_job_status"),
        ),
        sa.CheckConstraint("attempt BETWEEN 1 AND max_attempts", name=op.f("ck_job_attempt")),
        sa.CheckConstraint("unmet_dependencies >= 0", name=op.f("ck_job_unmet_dependencies")),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedule.id"],
            name=op.f("fk_job_schedule_id_schedule"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sqlite_autoincrement=True,
    )
    _create_partial_index(
        "ix_job_claim",
        [sa.literal_column("priority DESC"), "id", "run_after"],
        "status = 'pending' AND unmet_dependencies = 0 AND fencing_token >= 0",
    )
    _create_partial_index(
        "ix_job_claim_of_type",
        ["job_type", sa.literal_column("priority DESC"), "id", "run_after"],
        "status = 'pending' AND unmet_dependencies = 0 AND max_attempts > 0",
    )
    _create_partial_index(
        "ix_job_nudge",
        ["nudge_after"],
        "status = 'pending' AND unmet_dependencies = 0 AND num_nudges >= 0",
    )
    _create_partial_index(
        "ix_job_lease",
        ["lease_expires_at"],
        "status IN ('claimed', 'running', 'cancelling') AND num_nudges >= 0",
    )
    _create_partial_index("ix_job_status", ["status", "id"], "attempt > 0")
    _create_partial_index(
        "ix_job_of_schedule",
        ["schedule_id"],
        "status NOT IN ('completed', 'failed', 'cancelled') AND schedule_id IS NOT NULL",
    )
    op.create_index(op.f("ix_job_trace_id"), "job", ["trace_id"], unique=False)
    _create_partial_index("ix_job_model_name", ["model_name", "id"], "model_name IS NOT NULL")
    _create_partial_index("ix_job_schedule", ["schedule_id", "id"], "schedule_id IS NOT NULL")
    _create_partial_index("ix_job_finished_at", ["finished_at"], "finished_at IS NOT NULL")
    _create_partial_index(
        "uq_job_idempotency_key",
        ["idempotency_key"],
        "idempotency_key IS NOT NULL",
        unique=True,
    )
    op.create_table(
        "job_dependency",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "depends_on", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("must_complete", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["depends_on"],
            ["job.id"],
            name=op.f("fk_job_dependency_depends_on_job"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_dependency_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "depends_on", name=op.f("pk_job_dependency")),
    )
    op.create_index(
        op.f("ix_job_dependency_depends_on"), "job_dependency", ["depends_on"], unique=False
    )
    op.create_table(
        "job_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_status", sa.String(length=16), nullable=True),
        sa.Column("to_status", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=True),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_event_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_event")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_job_event_job_id_id"), "job_event", ["job_id", "id"], unique=False)
    op.create_index(
        op.f("ix_job_event_transaction_id_id"), "job_event", ["transaction_id", "id"], unique=False
    )
    op.create_table(
        "schedule_occurrence",
        sa.Column(
            "schedule_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("occurrence", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["job.id"],
            name=op.f("fk_schedule_occurrence_job_id_job"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedule.id"],
            name=op.f("fk_schedule_occurrence_schedule_id_schedule"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "occurrence", name=op.f("pk_schedule_occurrence")),
    )
    op.create_index(
        op.f("ix_schedule_occurrence_job_id"), "schedule_occurrence", ["job_id"], unique=False
    )

    if op.get_bind().dialect.name == "postgresql":
        op.execute(_ON_POSTGRES)
        return
    op.execute(
        _ON_SQLITE.format(name="job_submitted", change="INSERT", condition="", from_status="NULL")
    )
    op.execute(
        _ON_SQLITE.format(
            name="job_changed",
            change="UPDATE OF status",
            condition="WHEN OLD.status <> NEW.status",
            from_status="OLD.status",
        )
    )


def _create_partial_index(
    name: str, columns: list[Any], condition: str, *, unique: bool = False
) -> None:
    where = sa.text(condition)
    op.create_index(name, "job", columns, unique=unique, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    op.drop_table("schedule_occurrence")
    op.drop_table("job_event")
    op.drop_table("job_dependency")
    op.drop_table("job")
    op.drop_table("schedule")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION record_job_event()")
