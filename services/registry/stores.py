"""The registry's stores, over one database engine and one artifact store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sqlalchemy import Engine, text

from services.registry.promotions import PromotionBell
from services.registry.settings import RegistrySettings
from utils.service.artifacts import ArtifactStore
from utils.service.contracts.models import Fence
from utils.training.database import Guard, open_database, unguarded
from utils.training.experiment_db import ExperimentDB
from utils.training.job_queue.checkpoints import CheckpointStore
from utils.training.job_queue.claims import fence
from utils.training.model_registry import ModelRegistry
from utils.training.promotion_gate import VerdictStore


@dataclass(frozen=True)
class Stores:
    """Everything that a view may need."""

    engine: Engine
    models: ModelRegistry
    runs: ExperimentDB
    verdicts: VerdictStore
    checkpoints: CheckpointStore
    artifacts: ArtifactStore
    bell: PromotionBell

    @classmethod
    def of(cls, settings: RegistrySettings) -> Self:
        """Open them; the tables are there already (`python -m utils.training.database upgrade`)."""
        engine = open_database(settings.database_url, migrate=False)
        return cls(
            engine=engine,
            models=ModelRegistry(engine),
            runs=ExperimentDB(engine),
            verdicts=VerdictStore(engine),
            checkpoints=CheckpointStore(engine),
            artifacts=ArtifactStore(
                settings.store_url, settings.staging_folder, settings.max_artifact_bytes
            ),
            bell=PromotionBell(settings.redis_url),
        )

    def check_database(self) -> None:
        """Raise where the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))


def guard_of(given: Fence | None) -> Guard:
    """What is asked in the transaction of a trainer's write: does its claim still hold?"""
    return unguarded if given is None else fence(given.job_id, given.fencing_token)
