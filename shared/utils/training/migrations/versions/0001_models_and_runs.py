"""Models and runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=False),
        sa.Column("tag", sa.String(length=16), nullable=False),
        sa.Column("checkpoint_path", sa.Text(), nullable=False),
        sa.Column("task_type", sa.String(length=255), nullable=False),
        sa.Column("config_hash", sa.Text(), nullable=True),
        sa.Column("training_run_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "parent_model_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("export_formats", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("model_size_mb", sa.Double(), nullable=True),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("artifact_digest", sa.Text(), nullable=True),
        sa.Column("data_profile", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("reference_profile", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tagged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("content_digest", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "tag IN ('production', 'staging', 'experimental', 'retired')", name=op.f("ck_model_tag")
        ),
        sa.ForeignKeyConstraint(
            ["parent_model_id"], ["model.id"], name=op.f("fk_model_parent_model_id_model")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_model_idempotency_key")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_name_version")),
    )
    op.create_index(op.f("ix_model_parent_model_id"), "model", ["parent_model_id"], unique=False)
    op.create_index(
        op.f("ix_model_tag_name_tagged_at"), "model", ["tag", "name", "tagged_at"], unique=False
    )
    op.create_index(op.f("ix_model_training_run_id"), "model", ["training_run_id"], unique=False)
    op.create_index(
        "uq_model_production",
        "model",
        ["name"],
        unique=True,
        postgresql_where=sa.text("tag = 'production'"),
        sqlite_where=sa.text("tag = 'production'"),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("content_digest", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted')",
            name=op.f("ck_run_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_run_idempotency_key")),
    )
    op.create_index(op.f("ix_run_name"), "run", ["name"], unique=False)
    op.create_index(op.f("ix_run_status"), "run", ["status"], unique=False)
    op.create_table(
        "model_metric",
        sa.Column("model_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["model.id"],
            name=op.f("fk_model_metric_model_id_model"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_model_metric")),
    )
    op.create_index(
        op.f("ix_model_metric_name_value"), "model_metric", ["name", "value"], unique=False
    )
    op.create_table(
        "promotion",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("model_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("from_tag", sa.String(length=16), nullable=False),
        sa.Column("to_tag", sa.String(length=16), nullable=False),
        sa.Column(
            "replaced_model_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('promote', 'rollback')", name=op.f("ck_promotion_kind")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name=op.f("fk_promotion_model_id_model")
        ),
        sa.ForeignKeyConstraint(
            ["replaced_model_id"], ["model.id"], name=op.f("fk_promotion_replaced_model_id_model")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
        sa.UniqueConstraint("name", "sequence", name=op.f("uq_promotion_name_sequence")),
    )
    op.create_index(op.f("ix_promotion_model_id"), "promotion", ["model_id"], unique=False)
    op.create_index(
        op.f("ix_promotion_replaced_model_id"), "promotion", ["replaced_model_id"], unique=False
    )
    op.create_table(
        "run_artifact",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_run_artifact_run_id_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_artifact")),
    )
    op.create_table(
        "run_metric",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("axis", sa.String(length=64), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_run_metric_run_id_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", "axis", name=op.f("pk_run_metric")),
    )
    op.create_table(
        "run_metric_last",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_run_metric_last_run_id_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_metric_last")),
    )
    op.create_index(
        op.f("ix_run_metric_last_name_value"), "run_metric_last", ["name", "value"], unique=False
    )
    op.create_table(
        "run_param",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_run_param_run_id_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_param")),
    )
    op.create_table(
        "run_tag",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_run_tag_run_id_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_tag")),
    )


def downgrade() -> None:
    op.drop_table("run_tag")
    op.drop_table("run_param")
    op.drop_index(op.f("ix_run_metric_last_name_value"), table_name="run_metric_last")
    op.drop_table("run_metric_last")
    op.drop_table("run_metric")
    op.drop_table("run_artifact")
    op.drop_index(op.f("ix_promotion_replaced_model_id"), table_name="promotion")
    op.drop_index(op.f("ix_promotion_model_id"), table_name="promotion")
    op.drop_table("promotion")
    op.drop_index(op.f("ix_model_metric_name_value"), table_name="model_metric")
    op.drop_table("model_metric")
    op.drop_index(op.f("ix_run_status"), table_name="run")
    op.drop_index(op.f("ix_run_name"), table_name="run")
    op.drop_table("run")
    op.drop_index(
        "uq_model_production",
        table_name="model",
        postgresql_where=sa.text("tag = 'production'"),
        sqlite_where=sa.text("tag = 'production'"),
    )
    op.drop_index(op.f("ix_model_training_run_id"), table_name="model")
    op.drop_index(op.f("ix_model_tag_name_tagged_at"), table_name="model")
    op.drop_index(op.f("ix_model_parent_model_id"), table_name="model")
    op.drop_table("model")
