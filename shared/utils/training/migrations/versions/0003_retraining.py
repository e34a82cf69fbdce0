"""Retraining: windows, firings, and reference profiles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OUTCOMES = "outcome IN ('completed', 'failed', 'cancelled')"
_BRAKES = "held_back_by IN ('hysteresis', 'disarmed', 'in_flight', 'cool_down', 'budget')"


def upgrade() -> None:
    op.create_table(
        "trigger_state",
        sa.Column("model_name", sa.String(length=255), nullable=False),
        sa.Column("armed", sa.Boolean(), nullable=False),
        sa.Column("counted_from", sa.BigInteger(), nullable=False),
        sa.Column("evaluations", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_name", name=op.f("pk_trigger_state")),
    )
    _create_firings()
    _create_evaluations()
    op.create_table(
        "reference_profile",
        sa.Column("model_name", sa.String(length=255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("profile", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_reference_profile_number")),
        sa.PrimaryKeyConstraint("model_name", "number", name=op.f("pk_reference_profile")),
    )


def _create_firings() -> None:
    op.create_table(
        "trigger_firing",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("model_name", sa.String(length=255), nullable=False),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reasons", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.CheckConstraint(_OUTCOMES, name=op.f("ck_trigger_firing_outcome")),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (outcome IS NULL)", name=op.f("ck_trigger_firing_ended")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trigger_firing")),
    )
    op.create_index(
        op.f("ix_trigger_firing_model_name_fired_at"),
        "trigger_firing",
        ["model_name", "fired_at"],
        unique=False,
    )
    op.create_index(
        "uq_trigger_firing_in_flight",
        "trigger_firing",
        ["model_name"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )


def _create_evaluations() -> None:
    identifier = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "trigger_evaluation",
        sa.Column("id", identifier, nullable=False),
        sa.Column("model_name", sa.String(length=255), nullable=False),
        sa.Column("window", sa.String(length=255), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_over", sa.Boolean(), nullable=False),
        sa.Column("is_calm", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("held_back_by", sa.String(length=16), nullable=True),
        sa.Column("firing_id", identifier, nullable=True),
        sa.CheckConstraint(_BRAKES, name=op.f("ck_trigger_evaluation_held_back_by")),
        sa.ForeignKeyConstraint(
            ["firing_id"],
            ["trigger_firing.id"],
            name=op.f("fk_trigger_evaluation_firing_id_trigger_firing"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trigger_evaluation")),
        sa.UniqueConstraint(
            "model_name", "window", name=op.f("uq_trigger_evaluation_model_name_window")
        ),
    )
    op.create_index(
        op.f("ix_trigger_evaluation_model_name_id"),
        "trigger_evaluation",
        ["model_name", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_trigger_evaluation_firing_id"), "trigger_evaluation", ["firing_id"], unique=False
    )


def downgrade() -> None:
    op.drop_table("reference_profile")
    op.drop_table("trigger_evaluation")
    op.drop_table("trigger_firing")
    op.drop_table("trigger_state")
