"""Monitors, registry and scheduler as processes, on real servers; predictions of real digits."""

from __future__ import annotations

import os
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
import redis
from sqlalchemy import inspect, text

from utils.service.auth import Token, write_tokens
from utils.service.clients.monitor import MonitorClient
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.models import ModelRegistration, PromotionRequest
from utils.service.contracts.predictions import STREAM, STREAM_LENGTH, PredictionSummary
from utils.service.digits import read_digits
from utils.service.embedded.child import Child, free_port
from utils.service.embedded.valkey import ValkeyServer
from utils.service.http import ServiceClient
from utils.training.database import open_database
from utils.training.drift_metrics import profile_dataset
from utils.training.drift_metrics.images import image_columns
from utils.training.task_spec import TaskSpec

ROOT = Path(__file__).parents[3]
ROLES = ("reader", "submitter", "trainer", "admin")
DIGITS = TaskSpec(
    name="digits", modality="vision", image_size=(8, 8), image_channels=1, num_classes=10
)


class Process:
    """A service that can be killed and started again."""

    def __init__(self, folder, kind, **values):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        values |= {
            "PORT": self.port,
            "TOKENS_FILE": folder / "tokens.json",
            "RATE_LIMIT": "100000/minute",
        }
        prefix = f"TRAINING_{kind.upper()}_"
        self._env = {prefix + name: str(value) for name, value in values.items()}
        self._kind = kind
        self.log = folder / f"{kind}-{self.port}.log"
        self._child = Child(kind, self.log)

    def start(self):
        self._child.start(
            [sys.executable, "-m", f"services.{self._kind}"], env=os.environ | self._env, cwd=ROOT
        )
        self._child.wait_until(self._answers, 60)

    def kill(self):
        self._child.kill()

    def stop(self):
        self._child.stop()

    def _answers(self):
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


class Platform:
    """A registry, a scheduler and Redis; monitors are started by the tests."""

    def __init__(self, folder, database_url, redis_url):
        self.folder = folder
        write_tokens(folder / "tokens.json", [Token.of(r, r, f"{r}-token") for r in ROLES])
        for role in ROLES:
            (folder / role).write_text(f"{role}-token")
        self.redis_url = redis_url
        self.redis = redis.Redis.from_url(redis_url)
        shared = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        self.registry_process = Process(
            folder,
            "registry",
            STORE_URL=folder / "store",
            STAGING_FOLDER=folder / "staging",
            **shared,
        )
        self.scheduler_process = Process(folder, "scheduler", LOG_FOLDER=folder / "logs", **shared)
        self._service = ServiceClient(
            self.registry_process.url, folder / "admin", patience_seconds=5
        )
        self.registry = RegistryClient(self._service)
        self.scheduler = SchedulerClient(
            self.scheduler_process.url, folder / "admin", patience_seconds=5
        )
        self._monitors = []

    def monitor(self, **values):
        """A running monitor and a client of it."""
        values = {
            "REDIS_URL": self.redis_url,
            "REGISTRY_URL": self.registry_process.url,
            "SCHEDULER_URL": self.scheduler_process.url,
            "TOKEN_FILE": self.folder / "submitter",
            "WINDOW_ROWS": 500,
            "POLL_SECONDS": 0.2,
            "SEND_SECONDS": 0.1,
            "PLATFORM_SECONDS": 0.2,
            "LOCK_SECONDS": 2,
        } | values
        process = Process(self.folder, "monitor", **values)
        process.start()
        process.client = MonitorClient(process.url, self.folder / "submitter", patience_seconds=5)
        self._monitors.append(process)
        return process

    def register(self, *, promote=True, metrics=None, profile=None):
        bundle = self.folder / "bundle"
        bundle.write_bytes(os.urandom(16))
        trainer = self.registry
        model = trainer.register(
            ModelRegistration(
                name="digits",
                bundle_digest=trainer.upload(bundle),
                task_type="vision_classification",
                metrics=metrics or {},
                reference_profile=profile,
            )
        )
        if promote:
            body = PromotionRequest(force=True, reason="a test")
            self.registry.promote(model.model_id, body)
        return model

    def send(self, images, version="1", *, errors=0, per_request=1):
        """Add a summary for each request to the stream."""
        pipeline = self.redis.pipeline(transaction=False)
        for start in range(0, len(images), per_request):
            some = images[start : start + per_request]
            features = {name: c.values.tolist() for name, c in image_columns(some, 1).items()}
            add(pipeline, summary(version, rows=len(some), features=features))
        for _ in range(errors):
            add(pipeline, summary(version, error=True))
        pipeline.execute()

    def end_monitors(self):
        for monitor in self._monitors:
            monitor.client.close()
            monitor.kill()
        self._monitors.clear()

    def close(self):
        self.scheduler.close()
        self._service.close()
        self.scheduler_process.kill()
        self.registry_process.kill()
        self.redis.close()


def summary(version="1", **values):
    return PredictionSummary(
        model_name="digits",
        model_version=version,
        at=datetime.now(UTC),
        latency_ms=1.0,
        **values,
    )


def add(client, told):
    client.xadd(STREAM, {"summary": told.model_dump_json()}, maxlen=STREAM_LENGTH)


@pytest.fixture(scope="package")
def valkey(tmp_path_factory):
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="package")
def database(postgres, migrated_postgres):
    return postgres.create_database(f"test_{uuid.uuid4().hex}", template=migrated_postgres)


@pytest.fixture(scope="package")
def running(tmp_path_factory, database, valkey):
    platform = Platform(tmp_path_factory.mktemp("platform"), database, valkey.url())
    platform.registry_process.start()
    platform.scheduler_process.start()
    yield platform
    platform.close()


@pytest.fixture
def platform(running, database):
    """The running platform, its tables and Redis empty; the monitors of a test end with it."""
    running.redis.flushall()
    yield running
    running.end_monitors()
    engine = open_database(database, migrate=False)
    tables = set(inspect(engine).get_table_names()) - {"alembic_version"}
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(sorted(tables))} RESTART IDENTITY CASCADE"))
    engine.dispose()


@pytest.fixture(scope="session")
def scans():
    return read_digits()


@pytest.fixture(scope="session")
def reference(scans):
    return profile_dataset([(image, 0) for image in scans["train"].images[:, None]], DIGITS)


@pytest.fixture
def sample(scans):
    """So many scans that the reference was not made of, drawn with replacement."""

    def draw(count, seed=0):
        held_out = np.concatenate([scans["validation"].images, scans["test"].images])
        picked = np.random.default_rng(seed).integers(0, len(held_out), count)
        return held_out[picked][:, None]

    return draw
