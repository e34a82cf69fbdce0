"""A scheduler and a registry that are served for real, and trainers to start and to kill."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import httpx

from tests.waiting import wait_until
from utils.service.auth import Token, write_tokens
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.embedded.child import Child, free_port
from utils.service.http import ServiceClient

ROOT = Path(__file__).parents[3]
MODELS = Path(__file__).parent / "models"
SLOW = "slow_digits:build_model"
DEADLY = "deadly:build_model"
OWN = (SLOW, DEADLY)  # of the folder above
ROLES = ("submitter", "trainer", "reader", "admin")


def _answers(url):
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class Served:
    """A service of the platform as a process, to be killed and started again at its address."""

    def __init__(self, name, folder, values):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.child = Child(name, folder / f"{name}.log")
        values = values | {"PORT": self.port}
        self._env = {f"TRAINING_{name.upper()}_{k}": str(v) for k, v in values.items()}
        self._command = [sys.executable, "-m", f"services.{name}"]

    def start(self):
        self.child.start(self._command, env=os.environ | self._env, cwd=ROOT)

    def wait(self, seconds=240):
        """Wait until it is ready."""
        self.child.wait_until(partial(_answers, f"{self.url}/readyz"), seconds)


class Platform:
    """The services that a trainer works for, in one folder."""

    lease_seconds = 15  # a trainer may get no turn for that long

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
        scheduler = {
            "LOG_FOLDER": folder / "logs",
            "PUBLISH_INTERVAL_SECONDS": 0.1,
            "REAP_INTERVAL_SECONDS": 0.3,
            "CRON_INTERVAL_SECONDS": 0.1,
            "LEASE_SECONDS": 0.1,
            "NUDGE_AGAIN_SECONDS": 2,
            "EVENT_INTERVAL_SECONDS": 0.1,
        }
        registry = {"STORE_URL": folder / "store", "STAGING_FOLDER": folder / "staging"}
        self.services = {
            "scheduler": Served("scheduler", folder, shared | scheduler),
            "registry": Served("registry", folder, shared | registry),
        }
        for service in self.services.values():
            service.start()
        for service in self.services.values():
            service.wait()
        self.trainers = {}
        self.scheduler = SchedulerClient(self.url("scheduler"), folder / "submitter")
        self._registry_service = ServiceClient(self.url("registry"), folder / "trainer")
        self.registry = RegistryClient(self._registry_service)

    def url(self, name):
        """Where a service answers."""
        return self.services[name].url

    def start_trainers(self, *names, **settings):
        """See that these trainers are at work, and give them."""
        for name in names:
            if name not in self.trainers or self.trainers[name].pid is None:
                self.trainers[name] = self._start_trainer(name, settings)
        return self.trainers

    def work_folder(self, trainer):
        """What a trainer works in."""
        return self.folder / f"work-{trainer}"

    def stored(self, digest):
        """The file that the registry keeps of an artifact."""
        return self.folder / "store" / digest[:2] / digest

    def _start_trainer(self, name, settings):
        values = {
            "NAME": name,
            "REDIS_URL": self.redis_url,
            "SCHEDULER_URL": self.url("scheduler"),
            "REGISTRY_URL": self.url("registry"),
            "TOKEN_FILE": self.folder / "trainer",
            "DATA_FOLDER": self.folder / "data",
            "WORK_FOLDER": self.work_folder(name),
            "LEASE_SECONDS": self.lease_seconds,
            "ENTRY_POINTS": ", ".join(["services.trainer.samples.digits:build_model", *OWN]),
            **settings,
        }
        env = {f"TRAINING_TRAINER_{k}": str(v) for k, v in values.items()}
        env["PYTHONPATH"] = str(MODELS)
        child = Child(name, self.folder / f"{name}.log")
        child.start([sys.executable, "-m", "services.trainer"], env=os.environ | env, cwd=ROOT)
        return child

    def wait_for(self, job, is_there, seconds=240):
        """Wait until a job is as a function wants it, and return it."""

        def look():
            found = self.scheduler.get_job(job.job_id)
            return is_there(found) and found

        def told():
            return f"{self.scheduler.get_job(job.job_id)}\n{self.log(job)}\n{self.trainer_logs()}"

        return wait_until(look, seconds, told)

    def end_of(self, job, seconds=240):
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
