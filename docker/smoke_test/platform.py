"""The services of the compose file on loopback, and their databases."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from docker.smoke_test.engine import Container
from utils.service.embedded.child import free_port
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer

_SECRETS = Path(__file__).parents[1] / "secrets.sh"
_WEB = ("registry", "scheduler", "serving", "monitor")


class Platform:
    """Containers by name, their addresses, and the folder of their secrets."""

    def __init__(self, compose: Mapping[str, Any], secrets: Path, data: Path) -> None:
        self.secrets = secrets
        self._services = compose["services"]
        self._data = data
        self._ports = {name: free_port() for name in (*_WEB, "serving-onnx")}
        self.containers: dict[str, Container] = {}

    def url(self, name: str) -> str:
        """Where a service answers."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def start(
        self,
        service: str,
        name: str | None = None,
        *,
        mounts: Mapping[str, Path] | None = None,
        **changes: Any,
    ) -> Container:
        """Start a service; ``changes`` are keys of its part of the compose file."""
        name = name or service
        definition = deepcopy(self._services[service])
        environment = definition.get("environment", {}) | changes.pop("environment", {})
        if name in self._ports:
            prefix = f"TRAINING_{service.upper()}"
            environment[f"{prefix}_HOST"] = "127.0.0.1"
            environment[f"{prefix}_PORT"] = str(self._ports[name])
        if service == "trainer":
            mounts = {"/var/lib/training-engine/data": self._data}
        container = Container(
            f"training-engine-smoke-test-{name}-{os.getpid()}",
            definition | changes,
            {key: self._on_loopback(str(value)) for key, value in environment.items()},
            self.secrets,
            mounts,
        )
        self.containers[name] = container
        container.start()
        return container

    def _on_loopback(self, text: str) -> str:
        for name in _WEB:
            text = text.replace(f"http://{name}:8000", self.url(name))
        return text


@contextmanager
def platform(compose: Mapping[str, Any], folder: Path) -> Iterator[Platform]:
    """Databases and secrets; afterwards every container is removed, and the databases stop."""
    secrets, data = folder / "secrets", folder / "data"
    data.mkdir()
    subprocess.run([_SECRETS, secrets], check=True)
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        for name, url in (
            ("database-url", postgres.create_database("training")),
            ("redis-url", valkey.url()),
        ):
            (secrets / name).unlink()
            (secrets / name).write_text(url, encoding="utf-8")
            (secrets / name).chmod(0o444)
        built = Platform(compose, secrets, data)
        try:
            yield built
        finally:
            for container in built.containers.values():
                container.remove()
