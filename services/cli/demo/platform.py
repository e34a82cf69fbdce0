"""The running platform, as the demonstration speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from services.cli.demo.jobs import MODEL
from services.cli.stack.state import StackState
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import ServiceClient


@dataclass(frozen=True)
class Platform:
    """A caller's connections, and where the trainers read their data."""

    scheduler: SchedulerClient
    registry: RegistryClient
    monitor: ServiceClient
    serving_url: str
    serving_token: str
    data_folder: Path
    urls: dict[str, str]
    log_files: dict[str, Path]

    @classmethod
    @contextmanager
    def of(cls, state: StackState) -> Iterator[Self]:
        """Open the connections to a stack that is ready, and close them at the end."""
        urls = {kind: addresses[0] for kind, addresses in state.urls.items()}
        tokens = state.token_files
        scheduler = SchedulerClient(urls["scheduler"], tokens["submitter"])
        registry = ServiceClient(urls["registry"], tokens["reader"])
        monitor = ServiceClient(urls["monitor"], tokens["reader"])
        try:
            yield cls(
                scheduler=scheduler,
                registry=RegistryClient(registry),
                monitor=monitor,
                serving_url=urls["serving"],
                serving_token=tokens["reader"].read_text(encoding="utf-8").strip(),
                data_folder=state.data_folder,
                urls=urls,
                log_files={service.name: service.log for service in state.services},
            )
        finally:
            for client in (scheduler, registry, monitor):
                client.close()

    def is_served(self) -> bool:
        """Does a version of the model answer at the gateway?"""
        url = f"{self.serving_url}/v2/models/{MODEL}/ready"
        try:
            response = httpx.get(
                url, headers={"Authorization": f"Bearer {self.serving_token}"}, trust_env=False
            )
        except httpx.TransportError:
            return False
        return response.is_success
