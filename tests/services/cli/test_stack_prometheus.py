"""A stack with Prometheus: it scrapes each service under its name, with the rules of the chart."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.monitoring.servers import program
from tests.services.cli.conftest import call, start_trainctl
from tests.waiting import wait_until

JOBS = ["monitor", "registry", "scheduler", "scheduler", "serving"]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A function that asks the Prometheus of a stack with two schedulers."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("watched") / "c stack"
    words = ("up", "--detach", "--prometheus", "--schedulers", "2")
    done = start_trainctl(*words, folder=folder)
    assert done.returncode == 0, done.stderr
    services = json.loads((folder / "stack.json").read_text())["services"]
    (url,) = [service["url"] for service in services if service["name"] == "prometheus"]

    def ask(path):
        answer = httpx.get(f"{url}/api/v1/{path}", trust_env=False).raise_for_status()
        return answer.json()["data"]

    yield ask
    assert call("down", folder=folder).code == 0


def test_every_service_is_scraped_under_its_components_name(prometheus):
    def scraped():
        targets = prometheus("targets")["activeTargets"]
        return sorted(t["labels"]["job"] for t in targets if t["health"] == "up") == JOBS

    wait_until(scraped)


def test_the_charts_rules_are_evaluated(prometheus):
    def rules():
        groups = prometheus("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()))
    names = {rule["name"] for rule in rules()}
    assert {"ModelDriftCritical", "model:serving_errors:ratio_rate3d"} <= names
