"""The job in hand: its order, its folder, and the registry, to which it writes under its claim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.trainer.order import PROGRESS, Order, write_file
from services.trainer.run.artifacts import ArtifactCache
from utils.service.clients.registry import RegistryClient
from utils.service.contracts.jobs import Progress
from utils.service.contracts.models import Fence
from utils.service.http import ServiceClient

_PATIENCE_SECONDS = 120.0  # a registry that restarts costs no attempt


@dataclass(frozen=True)
class RunningJob:
    """What every step of a job works with."""

    order: Order
    folder: Path
    registry: RegistryClient
    artifacts: ArtifactCache

    @classmethod
    @contextmanager
    def of(cls, order: Order, folder: Path) -> Iterator[Self]:
        """Open the connections of a job, and close them at its end."""
        service = ServiceClient(
            order.registry_url, order.token_file, patience_seconds=_PATIENCE_SECONDS
        )
        registry = RegistryClient(service)
        try:
            yield cls(
                order,
                folder,
                registry,
                ArtifactCache(registry, order.cache_folder, folder, order.max_artifact_bytes),
            )
        finally:
            service.close()

    @property
    def fence(self) -> Fence:
        """The claim that every write names."""
        return Fence(job_id=self.order.job_id, fencing_token=self.order.fencing_token)

    def tell(self, progress: Progress) -> None:
        """Leave word of how far the work is; the worker sends it on with its next heartbeat."""
        write_file(self.folder, PROGRESS, progress)

    def tell_phase(self, phase: str) -> None:
        """Leave word of what is being done, where there are no steps to count."""
        self.tell(Progress(phase=phase))
