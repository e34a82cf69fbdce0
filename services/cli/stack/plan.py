"""Which processes a stack is made of, and the settings of each."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import utils.service
from services.cli.stack.credentials import Credentials
from services.cli.stack.members import Database, Member, Service, run
from services.cli.stack.options import StackOptions
from services.cli.stack.ports import Ports
from services.cli.stack.prometheus import prometheus
from services.cli.submission import SAMPLES, entry_point_of
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer

_SHARED = Path(utils.service.__file__).parents[2]
_ROOT = Path(__file__).parents[3]
_DATABASE = "training"
_SETTINGS = "TRAINING_"  # somebody's own settings are not this stack's
_ALIVE_SECONDS = 30.0  # six times what a trainer takes to say that it lives


class Plan:
    """The members in the order of their start, in steps: what is in one step starts at once.

    They end in the opposite order: trainers first, who give their jobs back.
    """

    def __init__(self, folder: Path, options: StackOptions) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.data_folder = folder / "data"
        self._options = options
        self._trainers = _numbered("trainer", options.trainers)
        self.credentials = Credentials(folder / "secrets", self._trainers)
        for name in (self.logs, self.data_folder):
            name.mkdir(exist_ok=True)
        self._ports = Ports(folder / "ports.json")
        self._schedulers = {
            name: self._url(name) for name in _numbered("scheduler", options.schedulers)
        }
        self._registry = self._url("registry")
        self._serving_url = self._url("serving")
        self._monitor_url = self._url("monitor")
        self._postgres = PostgresServer(
            folder / "postgres",
            self._ports.of("postgres"),
            password_file=self.credentials.folder / "postgres.password",
            log=self.logs / "postgres.log",
        )
        self._valkey = ValkeyServer(
            folder / "valkey",
            self._ports.of("valkey"),
            password_file=self.credentials.folder / "valkey.password",
            log=self.logs / "valkey.log",
        )
        self._redis_url = self.credentials.keep("valkey.url", self._valkey.url())

    def databases(self) -> list[Member]:
        """What keeps the state."""
        return [
            Database("postgres", self._postgres, self.logs / "postgres.log"),
            Database("valkey", self._valkey, self.logs / "valkey.log"),
        ]

    def migrate(self) -> None:
        """Bring the tables to this code's version, once the databases answer."""
        url = self._postgres.create_database(_DATABASE)
        variable = "TRAINING_DATABASE_URL_FILE"
        file = self.credentials.keep("postgres.url", url)
        command = [sys.executable, "-m", "utils.training.database", "upgrade"]
        run("migration", command, _environment({variable: file}), self.logs / "migration.log")

    def services(self) -> list[Member]:
        """What is spoken to, and stands on the databases alone."""
        shared = {
            "DATABASE_URL_FILE": self.credentials.folder / "postgres.url",
            "REDIS_URL_FILE": self._redis_url,
        }
        registry = self._web(
            "registry",
            self._registry,
            STORE_URL=self.folder / "artifacts",
            STAGING_FOLDER=self.folder / "staging",
            **shared,
        )
        schedulers = [
            self._web(
                name,
                url,
                LOG_FOLDER=self.folder / "job-logs",
                PUBLISH_INTERVAL_SECONDS=0.2,
                NUDGE_AGAIN_SECONDS=5,
                REAP_INTERVAL_SECONDS=1,
                LEASE_SECONDS=5,
                TRIGGER_INTERVAL_SECONDS=2,
                EVENT_INTERVAL_SECONDS=0.2,
                **shared,
            )
            for name, url in self._schedulers.items()
        ]
        return [registry, *schedulers]

    def workers(self) -> list[Member]:
        """What follows the registry and the queue."""
        members: list[Member] = [
            self._serving(),
            self._monitor(),
            *(self._trainer(name, number) for number, name in enumerate(self._trainers)),
        ]
        if self._options.prometheus:
            members.append(self._prometheus())
        return members

    def _prometheus(self) -> Service:
        targets = {
            "registry": [self._registry],
            "scheduler": list(self._schedulers.values()),
            "serving": [self._serving_url],
            "monitor": [self._monitor_url],
        }
        log = self.logs / "prometheus.log"
        return prometheus(self.folder / "prometheus", log, self._url("prometheus"), targets)

    def _monitor(self) -> Service:
        return self._web(
            "monitor",
            self._monitor_url,
            REGISTRY_URL=self._registry,
            SCHEDULER_URL=next(iter(self._schedulers.values())),
            TOKEN_FILE=self.credentials.token_files["monitor"],
            REDIS_URL_FILE=self._redis_url,
            WINDOW_SECONDS=60,
            POLL_SECONDS=1,
            PLATFORM_SECONDS=5,
        )

    def _serving(self) -> Service:
        return self._web(
            "serving",
            self._serving_url,
            REGISTRY_URL=self._registry,
            TOKEN_FILE=self.credentials.token_files["serving"],
            REDIS_URL_FILE=self._redis_url,
            WORK_FOLDER=self.folder / "work" / "serving",
            BACKEND=self._options.backend,
            POLL_SECONDS=1,
            RETRY_SECONDS=10,
        )

    def _trainer(self, name: str, number: int) -> Service:
        work = self.folder / "work" / name
        scheduler = list(self._schedulers.values())[number % len(self._schedulers)]
        values = {
            "NAME": name,
            "REDIS_URL_FILE": self._redis_url,
            "SCHEDULER_URL": scheduler,
            "REGISTRY_URL": self._registry,
            "TOKEN_FILE": self.credentials.token_files[name],
            "DATA_FOLDER": self.data_folder,
            "WORK_FOLDER": work,
            "LEASE_SECONDS": 15,
            "THREADS": self._options.threads,
            "ENTRY_POINTS": ",".join([*map(entry_point_of, SAMPLES), *self._options.entry_points]),
        }
        return self._service(
            name,
            "trainer",
            values,
            code=self._options.code,
            is_ready=lambda: _is_fresh(work / "alive"),
            # With the platform gone it would try to give its job back until it loses patience.
            death_signal=signal.SIGKILL,
        )

    def _web(self, name: str, url: str, **values: Any) -> Service:
        kind = name.partition("-")[0]
        common = {
            "PORT": url.rpartition(":")[2],
            "TOKENS_FILE": self.credentials.tokens_file,
            "RATE_LIMIT": "100000/minute",
        }
        return self._service(name, kind, values | common, url=url)

    def _service(
        self, name: str, kind: str, values: dict[str, Any], code: Path | None = None, **more: Any
    ) -> Service:
        settings = {f"{_SETTINGS}{kind.upper()}_{field}": value for field, value in values.items()}
        command = [sys.executable, "-m", f"services.{kind}"]
        log = self.logs / f"{name}.log"
        return Service(name, command, _environment(settings, code), log, kind=kind, **more)

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports.of(name)}"


def _numbered(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(1, count + 1)]


def _environment(settings: dict[str, Any], code: Path | None = None) -> dict[str, str]:
    """This process's own, with these settings of ours and no others.

    Args:
        settings: variables and their values.
        code: a folder that modules are found in too.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_SETTINGS)}
    given = [Path(text).absolute() for text in kept.get("PYTHONPATH", "").split(os.pathsep) if text]
    paths = [_ROOT, _SHARED, *given, *([] if code is None else [code])]
    return (
        kept
        | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}
        | {name: str(value) for name, value in settings.items()}
    )


def _is_fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _ALIVE_SECONDS
    except FileNotFoundError:
        return False
