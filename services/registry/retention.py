"""Checkpoints that no job goes on from any more are removed; any number of replicas may do it."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import Column, Connection, Text, cast, or_, select

from services.registry.metrics import RegistryMetrics
from services.registry.stores import Stores
from utils.training.database import utc_now
from utils.training.job_queue.tables import job, schedule
from utils.training.model_registry.tables import model
from utils.training.retraining_tables import trigger_rule

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0

# Where an artifact may be named, besides in jobs' checkpoints: bundles, what models are exported
# from again, data sets, what jobs made.
_REFERENCES: tuple[tuple[Column[object], ...], ...] = (
    (model.c.artifact_digest, model.c.checkpoint_path, model.c.metadata),
    (job.c.config, job.c.result),
    (schedule.c.config,),
    (trigger_rule.c.rule,),
)


class Retention:
    """Removes the artifacts that came as checkpoints, and that nothing refers to."""

    def __init__(self, stores: Stores, metrics: RegistryMetrics, finished_days: float) -> None:
        self._stores = stores
        self._metrics = metrics
        self._finished_days = finished_days

    def sweep(self) -> int:
        """Remove what is unused, and return how many bytes that were."""
        checkpoints = self._stores.checkpoints
        if self._finished_days:
            checkpoints.forget_finished(utc_now() - timedelta(days=self._finished_days))
        removed = [self._remove(digest) for digest in checkpoints.unused()]
        count, size = sum(map(bool, removed)), sum(removed)
        if count:
            log.info("Removed %d checkpoints of %d bytes.", count, size)
        return size

    def _remove(self, digest: str) -> int:
        def remove(connection: Connection) -> int:
            if _is_referred_to(connection, digest):
                return 0  # and no checkpoint from now on
            return self._stores.artifacts.remove(digest)

        try:
            size = self._stores.checkpoints.remove(digest, remove)
        except Exception as error:  # noqa: BLE001 - of whatever store; the others may be removable
            log.warning("The checkpoint %s can't be removed now: %s", digest, error)
            return 0
        self._metrics.removed_bytes.inc(size)
        return size


def _is_referred_to(connection: Connection, digest: str) -> bool:
    for columns in _REFERENCES:
        names_it = or_(*(cast(column, Text).contains(digest) for column in columns))
        if connection.execute(select(1).where(names_it).limit(1)).first() is not None:
            return True
    return False
