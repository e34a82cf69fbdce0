"""Prometheus and Alertmanager, from wherever the machine has them."""

from __future__ import annotations

import shutil
import time
from functools import partial

import httpx
import pytest
import yaml

from utils.service.embedded.child import Child, free_port

_PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
}


def program(*names):
    """The path of the first of these programs that is installed; the test is skipped without."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    package = _PACKAGES.get(names[0], names[0])
    pytest.skip(f"{names[0]} is not installed; Debian has it in the package {package}.")


class Server:
    """One of both on a free port, with a configuration in its folder."""

    def __init__(self, command, folder, configuration, *, name, file, options=()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(yaml.safe_dump(configuration))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._child = Child(name, folder / f"{name}.log")
        self._child.start(
            [
                command,
                f"--config.file={folder / file}",
                f"--storage.{'tsdb.path' if name == 'prometheus' else 'path'}={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                *options,
            ],
            cwd=folder,
        )
        self._child.wait_until(partial(_answers, f"{self.url}/-/ready"), 120)

    def get(self, path, **parameters):
        """The JSON of an answer."""
        answer = httpx.get(f"{self.url}{path}", params=parameters, trust_env=False, timeout=30)
        assert answer.is_success, answer.text
        return answer.json()

    def log(self):
        """The end of what it said."""
        return self._child.last_lines(40)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.stop()


class Prometheus(Server):
    """A Prometheus that scrapes every second."""

    def __init__(self, folder, targets, *, rules=(), alertmanager=None):
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": addresses}]}
                for job, addresses in targets.items()
            ],
        }
        if alertmanager is not None:
            address = alertmanager.url.removeprefix("http://")
            configuration["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [address]}]}]
            }
        super().__init__(
            program("prometheus"), folder, configuration, name="prometheus", file="prometheus.yaml"
        )

    def query(self, expression, at=None):
        """What an instant query answers."""
        more = {} if at is None else {"time": at}
        return self.get("/api/v1/query", query=expression, **more)["data"]["result"]

    def query_range(self, expression, seconds, step=1):
        """What a range query answers about the last so many seconds."""
        now = time.time()
        found = self.get(
            "/api/v1/query_range", query=expression, start=now - seconds, end=now, step=step
        )
        return found["data"]["result"]


class Alertmanager(Server):
    """An Alertmanager by itself: no cluster."""

    def __init__(self, folder, configuration):
        super().__init__(
            program("prometheus-alertmanager", "alertmanager"),
            folder,
            configuration,
            name="alertmanager",
            file="alertmanager.yaml",
            options=["--cluster.listen-address="],
        )


def _answers(url):
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
