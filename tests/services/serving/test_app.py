"""The service as a process: ready, measured, and gone with everything that it started."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.waiting import wait_until
from utils.service.embedded.child import Child, free_port

ROOT = Path(__file__).parents[3]


class Serving:
    """A serving process over a registry."""

    def __init__(self, registry, folder, **changes):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        values = {
            "PORT": port,
            "TOKENS_FILE": registry.folder / "tokens.json",
            "TOKEN_FILE": registry.folder / "reader",
            "REGISTRY_URL": registry.url,
            "WORK_FOLDER": folder / "work",
            "POLL_SECONDS": 0.1,
            **changes,
        }
        self.child = Child("serving", folder / "serving.log")
        self.child.start(
            [sys.executable, "-m", "services.serving"],
            env=os.environ | {f"TRAINING_SERVING_{k}": str(v) for k, v in values.items()},
            cwd=ROOT,
        )

    def get(self, path):
        try:
            return httpx.get(f"{self.url}{path}", trust_env=False)
        except httpx.TransportError:
            return httpx.Response(503)

    @property
    def is_ready(self):
        return self.get("/readyz").status_code == 200

    def serves(self, model):
        line = f'serving_loaded{{model_name="{model.name}",model_version="{model.version}"}} 1.0'
        return line in self.get("/metrics").text


@pytest.fixture
def start(registry, tmp_path):
    started = []

    def run(**changes):
        started.append(Serving(registry, tmp_path, **changes))
        return started[-1]

    yield run
    for serving in started:
        serving.child.stop()


def ask(serving, client):
    """The status and the version of one answer."""
    response = client.post(
        f"{serving.url}/v1/models/digits/predict",
        json={"instances": [[[0.5] * 8] * 8]},
        headers={"Authorization": "Bearer reader-token"},
    )
    return response.status_code, response.headers.get("X-Model-Version")


@pytest.mark.parametrize("backend", ["onnx", pytest.param("torchserve", marks=pytest.mark.slow)])
def test_a_promotion_and_a_rollback_fail_no_request(start, registry, digits_bundles, backend):
    first = registry.publish(digits_bundles[0])
    serving = start(BACKEND=backend)
    wait_until(lambda: serving.serves(first))
    stopping, answers = threading.Event(), []

    def keep_asking():
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not stopping.is_set():
                answers.append(ask(serving, client))

    threads = [threading.Thread(target=keep_asking, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    second = registry.publish(digits_bundles[1])
    wait_until(lambda: serving.serves(second) and not serving.serves(first))
    registry.clients.admin.rollback("digits", "a test")
    wait_until(lambda: serving.serves(first) and not serving.serves(second))
    stopping.set()
    for thread in threads:
        thread.join(30)
    assert set(answers) == {(200, "1"), (200, "2")}


def descendants(pid):
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_service(start, registry, digits_bundles, end):
    model = registry.publish(digits_bundles[0])
    serving = start(BACKEND="torchserve")
    wait_until(lambda: serving.serves(model) and serving.is_ready, 150)
    started = descendants(serving.child.pid)
    assert any("java" in process.name() for process in started)
    os.kill(serving.child.pid, end)
    wait_until(lambda: not any(process.is_running() for process in started))


@pytest.mark.chaos
def test_torchserve_killed_under_load_never_answers_wrong(
    start, registry, digits_bundles, record_property
):
    model = registry.publish(digits_bundles[0])
    serving = start(BACKEND="torchserve")
    wait_until(lambda: serving.serves(model))
    stopping, answers = threading.Event(), []

    def keep_asking():
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not stopping.is_set():
                response = client.post(
                    f"{serving.url}/v1/models/digits/predict",
                    json={"instances": [[[0.5] * 8] * 8]},
                    headers={"Authorization": "Bearer reader-token"},
                )
                right = response.json().get("predictions") if response.is_success else None
                answers.append((response.status_code, str(right)))

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        asked = len(answers)
        wait_until(lambda asked=asked: 200 in [code for code, _ in answers[asked:]])
        (java,) = (p for p in descendants(serving.child.pid) if "java" in p.name())
        java.kill()
        killed = time.monotonic()
        wait_until(lambda: answers[-1][0] == 503)
        wait_until(lambda: len(answers) > 20 and {code for code, _ in answers[-20:]} == {200}, 90)
        record_property("seconds", time.monotonic() - killed)
    stopping.set()
    for thread in threads:
        thread.join(60)
    assert {code for code, _ in answers} == {200, 503}
    assert len({right for code, right in answers if code == 200}) == 1
    record_property("tried", 3)


def test_it_is_ready_when_the_first_look_is_over_and_says_what_it_can_do_without(
    start, registry, digits_bundles
):
    model = registry.publish(digits_bundles[0])
    serving = start(BACKEND="onnx", REDIS_URL="redis://127.0.0.1:1/0")
    wait_until(lambda: serving.is_ready)
    assert serving.serves(model)
    registry.kill()
    wait_until(lambda: serving.get("/readyz").json()["checks"]["registry"] != "ok")
    document = serving.get("/readyz").json()
    assert document["status"] == "degraded"
    assert document["checks"]["backend"] == document["checks"]["sync"] == "ok"
    assert document["checks"]["redis"] != "ok"
    assert serving.is_ready
