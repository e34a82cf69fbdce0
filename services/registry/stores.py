"""The registry's stores, over one database engine and one artifact store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, Engine, text

from services.registry.promotions import PromotionBell
from services.registry.settings import RegistrySettings
from utils.service.artifacts import ArtifactStore, UnknownArtifactError
from utils.service.contracts.models import Fence
from utils.training.database import Guard, open_database, unguarded
from utils.training.experiment_db import ExperimentDB
from utils.training.job_queue.checkpoints import CheckpointStore, hold
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

    def require_artifact(self, digest: str) -> int:
        """The size in bytes of an artifact that is to be referred to.

        Raises:
            UnknownArtifactError: a LookupError; it is not in the store.
        """
        try:
            return self.artifacts.size(digest)
        except UnknownArtifactError:
            text = f"{digest} is not in the store; upload it first."
            raise UnknownArtifactError(text) from None

    def holding(self, digests: Collection[str], guard: Guard) -> Guard:
        """A guard that asks another, and keeps artifacts in the store until its write has ended."""

        def check(connection: Connection) -> None:
            guard(connection)
            hold(connection, digests)
            for digest in digests:
                self.require_artifact(digest)

        return check


def guard_of(given: Fence | None) -> Guard:
    """What is asked in the transaction of a trainer's write: does its claim still hold?"""
    return unguarded if given is None else fence(given.job_id, given.fencing_token)
