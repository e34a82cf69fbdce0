"""Every expression of every dashboard, on a real Prometheus that scrapes the running platform.

The platform goes once round the loop: a model is trained, judged, promoted and served; what it is
asked changes; a trigger trains it again. Then each expression must have had a value.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from services.cli.demo.jobs import MODEL, first_job
from services.cli.stack.options import StackOptions
from services.cli.stack.stack import Stack
from tests.monitoring.boards import ANNOTATIONS, QUERIES
from tests.monitoring.servers import Prometheus, program
from tests.waiting import wait_until
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.jobs import TriggerRule
from utils.service.digits import read_digits

RULES = Path(__file__).parents[2] / "charts/training-engine/files/rules.yaml"
COMPONENTS = ("scheduler", "registry", "serving", "monitor")
WINDOW = "20s"
BATCH = 50


class Asking:
    """Asks the served model about scans, by batches, until told that it is enough."""

    def __init__(self, stack):
        token = stack.token_files["reader"].read_text()
        self.http = httpx.Client(
            base_url=stack.urls["serving"][0],
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=30,
        )
        self.images = read_digits()["test"].images

    def is_served(self):
        return self.ask(self.images[:1]).is_success

    def ask(self, images):
        return self.http.post(f"/v1/models/{MODEL}/predict", json={"instances": images.tolist()})

    def until(self, look, images, seconds=90):
        """Ask about these scans again and again until ``look`` gives something."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, f"nothing came of it within {seconds} s"
            for start in range(0, len(images), BATCH):
                answer = self.ask(images[start : start + BATCH])
                assert answer.is_success, answer.text
        return found


def lasting(job, epochs):
    """The same job over so many epochs."""
    settings = job.training_config | {"epochs": epochs, "log_interval_steps": 5}
    return job.model_copy(update={"training_config": settings})


def go_round(stack, prometheus):
    """Once round the loop, with Prometheus watching."""
    scheduler = SchedulerClient(stack.urls["scheduler"][0], stack.token_files["submitter"])
    asking = Asking(stack)
    try:
        # Prometheus is to see the second training learn, however fast the machine is.
        endless = lasting(first_job(), 10_000)
        scheduler.put_trigger(MODEL, TriggerRule(job=endless, windows=1, windows_to_fire=1))
        first = scheduler.submit("training", lasting(first_job(), 8).model_dump(mode="json"))
        wait_until(lambda: scheduler.get_job(first.job_id).is_finished, 240, prometheus.log)
        done = scheduler.get_job(first.job_id)
        assert done.status == "completed", done.error
        wait_until(asking.is_served)
        asking.until(lambda: prometheus.query("drift_status == 0"), asking.images)
        # A new scanner: what was ink is paper.
        asking.until(lambda: prometheus.query("drift_status == 2"), 1 - asking.images)
        wait_until(
            lambda: prometheus.query("training_triggers_fired_total > 0"), 120, prometheus.log
        )
        again, *_ = scheduler.list_jobs(model_name=MODEL).items
        assert "JS divergence" in again.reason
        wait_until(lambda: prometheus.query("training_job_gradient_norm"), 120, prometheus.log)
        scheduler.cancel(again.job_id, "The loop is closed.")
    finally:
        asking.http.close()
        scheduler.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What Prometheus knows after a round."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("live")
    began = time.time()
    with Stack(folder / "stack", StackOptions(backend="onnx")) as stack:
        targets = {
            name: [url.removeprefix("http://") for url in stack.urls[name]] for name in COMPONENTS
        }
        with Prometheus(folder / "prometheus", targets, rules=[RULES]) as prometheus:
            go_round(stack, prometheus)
            time.sleep(3)  # the last scrapes
            yield SimpleNamespace(prometheus=prometheus, seconds=time.time() - began)


def finite(series):
    return [value for line in series for _, value in line["values"] if math.isfinite(float(value))]


@pytest.mark.parametrize("asked", QUERIES, ids=str)
def test_a_panel_has_data(watched, asked):
    assert finite(watched.prometheus.query_range(asked.filled(WINDOW), watched.seconds))


@pytest.mark.parametrize("asked", [*QUERIES, *ANNOTATIONS], ids=str)
def test_another_release_is_not_shown(watched, asked):
    elsewhere = asked.filled(WINDOW, namespace="elsewhere")
    shown = finite(watched.prometheus.query_range(elsewhere, watched.seconds))
    assert set(shown) <= {"0"}  # of what says "none" by a number


@pytest.mark.parametrize("asked", ANNOTATIONS, ids=str)
def test_a_mark_is_set(watched, asked):
    assert finite(watched.prometheus.query_range(asked.filled(WINDOW), watched.seconds))


def test_a_variable_finds_the_model(watched):
    known = '{__name__=~"serving_loaded|training_job_steps|model_registrations_total"}'
    found = watched.prometheus.get("/api/v1/label/model_name/values", **{"match[]": known})
    assert found["data"] == [MODEL]


def test_every_rule_can_be_evaluated(watched):
    groups = watched.prometheus.get("/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}


def test_a_platform_that_works_fires_no_alarm_but_drift(watched):
    fired = watched.prometheus.query_range('ALERTS{alertstate="firing"}', watched.seconds)
    names = {line["metric"]["alertname"] for line in fired}
    assert names <= {"ModelDriftWarning", "ModelDriftCritical"}
