"""A scheduler and a registry that are served for real, and trainers to start and to kill."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from utils.service.auth import Token, write_tokens
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.embedded.child import Child, free_port
from utils.service.embedded.valkey import ValkeyServer
from utils.service.http import ServiceClient

ROOT = Path(__file__).parents[3]
MODELS = Path(__file__).parent / "models"
SLOW = "slow_digits:build_model"
ROLES = ("submitter", "trainer", "reader", "admin")


def _answers(url):
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class Platform:
    """The services that a trainer works for, in one folder."""

    def __init__(self, folder, database_url, redis_url):
        self.folder = folder
        self.redis_url = redis_url
        write_tokens(folder / "tokens.json", [Token.of(r, r, f"{r}-token") for r in ROLES])
        for role in ROLES:
            (folder / role).write_text(f"{role}-token")
        (folder / "data").mkdir()
        shared = {
            "TOKENS_FILE": folder / "tokens.json",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "RATE_LIMIT": "100000/minute",
        }
        self.services = {
            "scheduler": self._service(
                "scheduler",
                LOG_FOLDER=folder / "logs",
                PUBLISH_INTERVAL_SECONDS=0.1,
                REAP_INTERVAL_SECONDS=0.3,
                LEASE_SECONDS=0.1,
                NUDGE_AGAIN_SECONDS=2,
                EVENT_INTERVAL_SECONDS=0.1,
                **shared,
            ),
            "registry": self._service(
                "registry", STORE_URL=folder / "store", STAGING_FOLDER=folder / "staging", **shared
            ),
        }
        self._wait()
        self.trainers = {}
        self.scheduler = SchedulerClient(self._url("scheduler"), folder / "submitter")
        self._registry_service = ServiceClient(self._url("registry"), folder / "trainer")
        self.registry = RegistryClient(self._registry_service)

    def _service(self, name, **values):
        port = free_port()
        env = {f"TRAINING_{name.upper()}_{k}": str(v) for k, v in (values | {"PORT": port}).items()}
        child = Child(name, self.folder / f"{name}.log")
        child.start([sys.executable, "-m", f"services.{name}"], env=os.environ | env, cwd=ROOT)
        return SimpleNamespace(child=child, port=port)

    def _url(self, name):
        return f"http://127.0.0.1:{self.services[name].port}"

    def _wait(self):
        for name, service in self.services.items():
            service.child.wait_until(partial(_answers, f"{self._url(name)}/readyz"), 60)

    def start_trainers(self, *names):
        """See that these trainers are at work, and give them."""
        for name in names:
            if name not in self.trainers or self.trainers[name].pid is None:
                self.trainers[name] = self._start_trainer(name)
        return self.trainers

    def _start_trainer(self, name):
        values = {
            "NAME": name,
            "REDIS_URL": self.redis_url,
            "SCHEDULER_URL": self._url("scheduler"),
            "REGISTRY_URL": self._url("registry"),
            "TOKEN_FILE": self.folder / "trainer",
            "DATA_FOLDER": self.folder / "data",
            "WORK_FOLDER": self.folder / f"work-{name}",
            "LEASE_SECONDS": 3,
            "ENTRY_POINTS": f"services.trainer.samples.digits:build_model, {SLOW}",
        }
        env = {f"TRAINING_TRAINER_{k}": str(v) for k, v in values.items()}
        env["PYTHONPATH"] = str(MODELS)
        child = Child(name, self.folder / f"{name}.log")
        child.start([sys.executable, "-m", "services.trainer"], env=os.environ | env, cwd=ROOT)
        return child

    def wait_for(self, job, is_there, seconds=90):
        """Wait until a job is as a function wants it, and return it."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.scheduler.get_job(job.job_id)
            if is_there(found):
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"{found}\n{self.log(job)}\n{self.trainer_logs()}")
            time.sleep(0.05)

    def end_of(self, job, seconds=90):
        """Wait until a job is finished, and return it."""
        return self.wait_for(job, lambda found: found.is_finished, seconds)

    def log(self, job):
        """A job's log so far."""
        return self.scheduler.read_log(job.job_id).content.decode()

    def trainer_logs(self):
        """What the trainers said."""
        return "\n".join(path.read_text()[-4000:] for path in self.folder.glob("trainer*.log"))

    def close(self):
        """Stop the services."""
        self.scheduler.close()
        self._registry_service.close()
        for child in [*self.trainers.values(), *(s.child for s in self.services.values())]:
            child.stop()


@pytest.fixture(scope="package")
def platform(tmp_path_factory, postgres, migrated_postgres):
    folder = tmp_path_factory.mktemp("platform")
    with ValkeyServer(folder / "valkey") as valkey:
        url = postgres.create_database("trainer", template=migrated_postgres)
        platform = Platform(folder, url, valkey.url())
        yield platform
        platform.close()


@pytest.fixture
def trainer(platform):
    """At least one trainer at work."""
    return platform.start_trainers("trainer-1")


@pytest.fixture
def two_trainers(platform):
    """Two trainers at work, each on a machine of its own as far as files go."""
    return platform.start_trainers("trainer-1", "trainer-2")


def digits_job(name="digits", *, epochs=2, **changes):
    """A job that trains the digits."""
    settings = {
        "epochs": epochs,
        "batch_size": 32,
        "learning_rate": 4e-3,
        "deterministic": True,
        "random_seed": 3,
        "export_formats": ["onnx"],
        "log_interval_steps": 5,
        "save_interval_steps": 7,
        "progress_bar": False,
    }
    return {
        "model_name": name,
        "model": {"entry_point": "services.trainer.samples.digits:build_model"},
        "data": [{"kind": "sample", "location": "digits"}],
        "validation": {"kind": "sample", "location": "digits", "part": "validation"},
        "held_out": {"kind": "sample", "location": "digits", "part": "test"},
        "training_config": settings | changes.pop("training_config", {}),
        **changes,
    }


@pytest.fixture(scope="package")
def undisturbed(platform):
    """A finished job that nothing happened to, and a look at it while it ran."""
    platform.start_trainers("trainer-1")
    config = digits_job("undisturbed", model={"entry_point": SLOW})
    job = platform.scheduler.submit("training", config)
    running = platform.wait_for(job, lambda found: (found.progress or {}).get("gradient_norm"))
    return SimpleNamespace(running=running, job=platform.end_of(job))


@pytest.fixture(scope="session")
def make_job():
    return digits_job
