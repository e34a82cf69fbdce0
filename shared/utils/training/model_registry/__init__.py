"""Versions of models: their metrics, tags, lineage and audit, on SQLite or Postgres."""

from typing import TYPE_CHECKING

from utils.training.artifact_digest import artifact_digest
from utils.training.lazy import lazily
from utils.training.model_registry.errors import (
    AlreadyRegisteredError,
    ConflictError,
    UnknownModelError,
)
from utils.training.model_registry.records import (
    Lineage,
    Promotion,
    RegisteredModel,
    Verification,
)

if TYPE_CHECKING:
    from utils.training.model_registry.registry import ModelRegistry

__all__ = [
    "AlreadyRegisteredError",
    "ConflictError",
    "Lineage",
    "ModelRegistry",
    "Promotion",
    "RegisteredModel",
    "UnknownModelError",
    "Verification",
    "artifact_digest",
]

__getattr__ = lazily(__name__, {"ModelRegistry": "registry"})
