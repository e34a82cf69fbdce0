"""A scheduler served for real, for a real Alertmanager to notify."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from utils.service.auth import Token, write_tokens
from utils.service.clients.scheduler import SchedulerClient
from utils.service.embedded.child import Child, free_port
from utils.service.embedded.valkey import ValkeyServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scheduler(tmp_path, postgres_url):
    """Its address, a client of a submitter, and the file with that submitter's token."""
    token = tmp_path / "alertmanager.token"
    token.write_text("alertmanager-token")
    write_tokens(
        tmp_path / "tokens.json", [Token.of("alertmanager", "submitter", token.read_text())]
    )
    with ValkeyServer(tmp_path / "valkey") as valkey:
        port = free_port()
        values = {
            "PORT": port,
            "TOKENS_FILE": tmp_path / "tokens.json",
            "DATABASE_URL": postgres_url,
            "REDIS_URL": valkey.url(),
            "LOG_FOLDER": tmp_path / "logs",
        }
        settings = {f"TRAINING_SCHEDULER_{name}": str(value) for name, value in values.items()}
        child = Child("scheduler", tmp_path / "scheduler.log")
        child.start(
            [sys.executable, "-m", "services.scheduler"], env=os.environ | settings, cwd=ROOT
        )
        url = f"http://127.0.0.1:{port}"
        try:
            child.wait_until(partial(_answers, f"{url}/readyz"), 60)
            client = SchedulerClient(url, token)
            yield SimpleNamespace(url=url, client=client, token_file=token)
            client.close()
        finally:
            child.stop()


def _answers(url):
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
