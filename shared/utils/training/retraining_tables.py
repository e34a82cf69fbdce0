"""The tables of retraining: what was seen of a model, what fired, and its reference profiles."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from utils.training.database import Id, Json, UtcDateTime, metadata
from utils.training.database.checks import NAME_LENGTH

OUTCOMES = ("completed", "failed", "cancelled")
BRAKES = ("hysteresis", "disarmed", "in_flight", "cool_down", "budget")

# One row a model, which is also its lock.
trigger_state = Table(
    "trigger_state",
    metadata,
    Column("model_name", String(NAME_LENGTH), primary_key=True),
    Column("armed", Boolean, nullable=False),
    Column("counted_from", BigInteger, nullable=False),  # windows after this id count
    Column("evaluations", BigInteger, nullable=False),
)

trigger_firing = Table(
    "trigger_firing",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_name", String(NAME_LENGTH), nullable=False),
    Column("fired_at", UtcDateTime, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("job_id", Text),
    Column("ended_at", UtcDateTime),
    Column("outcome", String(16)),
    CheckConstraint(f"outcome IN {OUTCOMES}", name="outcome"),
    CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended"),
)
Index(
    "uq_trigger_firing_in_flight",
    trigger_firing.c.model_name,
    unique=True,
    postgresql_where=trigger_firing.c.ended_at.is_(None),
    sqlite_where=trigger_firing.c.ended_at.is_(None),
)
Index(None, trigger_firing.c.model_name, trigger_firing.c.fired_at)

trigger_evaluation = Table(
    "trigger_evaluation",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_name", String(NAME_LENGTH), nullable=False),
    Column("window", String(NAME_LENGTH), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("is_over", Boolean, nullable=False),
    Column("is_calm", Boolean, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("held_back_by", String(16)),
    Column("firing_id", Id, ForeignKey("trigger_firing.id")),
    UniqueConstraint("model_name", "window"),
    CheckConstraint(f"held_back_by IN {BRAKES}", name="held_back_by"),
)
Index(None, trigger_evaluation.c.model_name, trigger_evaluation.c.id)
Index(None, trigger_evaluation.c.firing_id)

# What a model is retrained by, and what was last said of it.
trigger_rule = Table(
    "trigger_rule",
    metadata,
    Column("model_name", String(NAME_LENGTH), primary_key=True),
    Column("rule", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("updated_by", String(NAME_LENGTH), nullable=False),
    Column("last_signal", Json),
    Column("last_signal_at", UtcDateTime),
)

reference_profile = Table(
    "reference_profile",
    metadata,
    Column("model_name", String(NAME_LENGTH), primary_key=True),
    Column("number", Integer, primary_key=True),  # 1 is the original
    Column("profile", Json, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    CheckConstraint("number >= 1", name="number"),
)
