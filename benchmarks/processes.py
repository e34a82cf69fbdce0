"""The platform's services as processes of their own, for the benchmarks that speak to them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import urllib3

from utils.service.auth import Role, Token, write_tokens
from utils.service.embedded.child import Child, free_port
from utils.service.http import ServiceClient

ROOT = Path(__file__).parents[1]
START_SECONDS = 300  # a busy machine imports slowly
NO_LIMIT = "1000000/minute"
ROLES: tuple[Role, ...] = ("reader", "submitter", "trainer", "admin")


class Served(NamedTuple):
    """Where a process answers, and which one it is."""

    url: str
    pid: int


def write_roles(folder: Path) -> None:
    """A token of each role in the file of its name, and the file that services know them by."""
    write_tokens(folder / "tokens.json", [Token.of(r, r, f"{r}-token") for r in ROLES])
    for role in ROLES:
        (folder / role).write_text(f"{role}-token")


def client(url: str, folder: Path, role: Role) -> ServiceClient:
    """A service, as a role speaks to it."""
    return ServiceClient(url, folder / role)


@contextmanager
def registry(folder: Path, database: str | Path, **more: object) -> Iterator[Served]:
    """A registry on a database that has its tables."""
    values = {
        "DATABASE_URL": database,
        "STORE_URL": folder / "store",
        "STAGING_FOLDER": folder / "staging",
        "RATE_LIMIT": NO_LIMIT,
        **more,
    }
    with service("registry", folder, values) as served:
        yield served


@contextmanager
def scheduler(folder: Path, database: str, redis_url: str) -> Iterator[Served]:
    """A scheduler on a database that has its tables."""
    values = {
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "LOG_FOLDER": folder / "job-logs",
        "RATE_LIMIT": NO_LIMIT,
    }
    with service("scheduler", folder, values) as served:
        yield served


@contextmanager
def trainer(
    folder: Path, scheduler_url: str, registry_url: str, redis_url: str, **more: object
) -> Iterator[None]:
    """A trainer that listens for jobs."""
    values = {
        "SCHEDULER_URL": scheduler_url,
        "REGISTRY_URL": registry_url,
        "REDIS_URL": redis_url,
        "TOKEN_FILE": folder / "trainer",
        "DATA_FOLDER": folder,
        "WORK_FOLDER": folder / "work",
        **more,
    }
    process = Child("trainer", folder / "trainer.log")
    process.start(
        [sys.executable, "-m", "services.trainer"], env=_settings("trainer", values), cwd=ROOT
    )
    try:
        process.wait_until((folder / "work" / "alive").exists, START_SECONDS)
        yield
    finally:
        process.stop()


@contextmanager
def service(name: str, folder: Path, values: Mapping[str, object]) -> Iterator[Served]:
    """One of the platform's services, once it is ready."""
    port = free_port()
    values = {**values, "PORT": port, "TOKENS_FILE": folder / "tokens.json"}
    command = [sys.executable, "-m", f"services.{name}"]
    url = f"http://127.0.0.1:{port}"
    with child(name, folder, command, _settings(name, values), url, "/readyz") as served:
        yield served


@contextmanager
def child(
    name: str, folder: Path, command: list[str], env: Mapping[str, str], url: str, path: str
) -> Iterator[Served]:
    """A process that answers at a URL."""
    process = Child(name, folder / f"{name}.log")
    process.start(command, env=env, cwd=ROOT)
    try:
        process.wait_until(lambda: _answers(url + path), START_SECONDS)
        assert process.pid is not None
        yield Served(url, process.pid)
    finally:
        process.stop()


def _settings(name: str, values: Mapping[str, object]) -> dict[str, str]:
    prefix = f"TRAINING_{name.upper()}"
    return os.environ | {f"{prefix}_{key}": str(value) for key, value in values.items()}


def _answers(url: str) -> bool:
    try:
        return bool(urllib3.request("GET", url, retries=False).status == 200)
    except urllib3.exceptions.HTTPError:
        return False
