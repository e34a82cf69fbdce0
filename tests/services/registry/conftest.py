"""A registry that is served for real, and callers in each role."""

import os
import sys
from pathlib import Path

import httpx
import pytest

from utils.service.auth import Token, write_tokens
from utils.service.clients.registry import RegistryClient
from utils.service.embedded.child import Child, free_port
from utils.service.http import ServiceClient

ROLES = ("reader", "submitter", "trainer", "admin")


@pytest.fixture
def served(tmp_path, postgres_url):
    """The registry's URL."""
    write_tokens(tmp_path / "tokens.json", [Token.of(r, r, f"{r}-token") for r in ROLES])
    for role in ROLES:
        (tmp_path / role).write_text(f"{role}-token")
    port = free_port()
    values = {
        "PORT": str(port),
        "TOKENS_FILE": str(tmp_path / "tokens.json"),
        "DATABASE_URL": postgres_url,
        "STORE_URL": str(tmp_path / "store"),
        "STAGING_FOLDER": str(tmp_path / "staging"),
        "RATE_LIMIT": "100000/minute",
    }
    env = os.environ | {f"TRAINING_REGISTRY_{name}": value for name, value in values.items()}
    child = Child("registry", tmp_path / "registry.log")
    child.start([sys.executable, "-m", "services.registry"], env=env, cwd=Path(__file__).parents[3])
    url = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    child.wait_until(answers, 120)
    yield url
    child.stop()


@pytest.fixture
def callers(served, tmp_path):
    """A client in each role."""
    clients = {role: ServiceClient(served, tmp_path / role, patience_seconds=2) for role in ROLES}
    yield {role: RegistryClient(client) for role, client in clients.items()}
    for client in clients.values():
        client.close()
