"""The registry's tables: versions of models, their metrics, and every change of a tag."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from utils.training.database import Id, Json, Real, UtcDateTime, metadata
from utils.training.database.checks import NAME_LENGTH

TAGS = ("production", "staging", "experimental", "retired")

model = Table(
    "model",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("version", String(NAME_LENGTH), nullable=False),
    Column("tag", String(16), nullable=False),
    Column("checkpoint_path", Text, nullable=False),
    Column("task_type", String(NAME_LENGTH), nullable=False),
    Column("config_hash", Text),
    Column("training_run_id", BigInteger),  # may be a run of another database
    Column("parent_model_id", Id, ForeignKey("model.id")),
    Column("export_formats", Json, nullable=False),
    Column("model_size_mb", Double),
    Column("metadata", Json, nullable=False),
    Column("artifact_digest", Text),
    Column("data_profile", Json),
    Column("reference_profile", Json),
    Column("created_by", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("tagged_at", UtcDateTime, nullable=False),
    Column("idempotency_key", String(NAME_LENGTH)),
    Column("content_digest", String(64)),  # with an idempotency key
    UniqueConstraint("name", "version"),
    UniqueConstraint("idempotency_key"),
    CheckConstraint(f"tag IN {TAGS}", name="tag"),
)
Index(
    "uq_model_production",
    model.c.name,
    unique=True,
    postgresql_where=model.c.tag == "production",
    sqlite_where=model.c.tag == "production",
)
Index(None, model.c.tag, model.c.name, model.c.tagged_at)
Index(None, model.c.parent_model_id)
Index(None, model.c.training_run_id)

model_metric = Table(
    "model_metric",
    metadata,
    Column("model_id", Id, ForeignKey("model.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("value", Real, nullable=False),
)
Index(None, model_metric.c.name, model_metric.c.value)

promotion = Table(
    "promotion",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("sequence", Integer, nullable=False),  # 1, 2, 3, ... of the name
    Column("kind", String(16), nullable=False),
    Column("model_id", Id, ForeignKey("model.id"), nullable=False),
    Column("from_tag", String(16), nullable=False),
    Column("to_tag", String(16), nullable=False),
    Column("replaced_model_id", Id, ForeignKey("model.id")),
    Column("reason", Text),
    Column("actor", Text),
    Column("at", UtcDateTime, nullable=False),
    UniqueConstraint("name", "sequence"),
    CheckConstraint("kind IN ('promote', 'rollback')", name="kind"),
)
Index(None, promotion.c.model_id)
Index(None, promotion.c.replaced_model_id)
