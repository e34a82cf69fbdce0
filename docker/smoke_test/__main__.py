"""Build nothing, run everything: ``make images-test``. Exit code 0 only if all of it was so.

Each image is looked into, then the services run together as the compose file says (read-only, its
user, no capabilities, its memory), a model goes once round the loop, and SIGTERM ends them.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from docker.smoke_test.compose import read_compose
from docker.smoke_test.engine import ENGINE, Container, engine
from docker.smoke_test.inspection import faults_of, revision_of, size_of
from docker.smoke_test.platform import Platform, platform
from docker.smoke_test.report import Report, wait_until

_BASE = os.environ.get("BASE_IMAGE") or "docker.io/library/python:3.11-slim"
_ROUND = Path(__file__).parents[2] / "charts" / "training-engine" / "smoke"
_SMALL = ("registry", "scheduler", "monitor", "cli")
_WITH_TORCH = ("serving", "trainer")
_SMALL_MEGABYTES = 250  # over the base
_BACKENDS = {"serving": "torchserve", "serving-onnx": "onnx"}
_START_SECONDS = 180.0  # a loaded machine imports slowly
_UNWRITABLE = ("/written", "/opt/training-engine/written", "/opt/venv/written", "/etc/written")


def main() -> int:
    """Check all images, and say how it went."""
    compose = read_compose(os.environ)
    report = Report()
    report.title(f"Images, by {ENGINE}")
    images = _images(compose)
    for name, image in images.items():
        most = _SMALL_MEGABYTES if name in _SMALL else math.inf
        has_torch = name in _WITH_TORCH
        faults = list(faults_of(image, _BASE, has_torch=has_torch, most_megabytes=most))
        made_of = f"{size_of(image, _BASE)}; of {revision_of(image)[:7]}"
        report.line(f"{image} has what it needs and no more", is_so=not faults, detail=made_of)
        for fault in faults:
            report.line(f"{image}: {fault}", is_so=False)
    with (
        tempfile.TemporaryDirectory(prefix="images-test-") as folder,
        platform(compose, Path(folder)) as running,
    ):
        _run(running, images, report)
    report.title(f"{report.faults} faults")
    return min(report.faults, 1)


def _images(compose: Mapping[str, Any]) -> dict[str, str]:
    """The six that the compose file names, and serving's variant where it was built."""
    images = {name: compose["services"][name]["image"] for name in (*_SMALL, *_WITH_TORCH)}
    variant = f"{images['serving']}-onnx"
    if engine("image", "inspect", variant, check=False).returncode == 0:
        images["serving-onnx"] = variant
    return images


def _run(running: Platform, images: Mapping[str, str], report: Report) -> None:
    report.title("Start")
    code = running.start("migration").wait()
    report.line("the tables are made", is_so=code == 0)
    for name in ("registry", "scheduler", "monitor"):
        running.start(name)
    for name, backend in _BACKENDS.items():
        image = images.get(name, images["serving"])
        environment = {"TRAINING_SERVING_BACKEND": backend}
        running.start("serving", name, image=image, environment=environment)
    running.start("trainer")
    servers = {name: running.containers[name] for name in (*_BACKENDS, "registry", "scheduler")}
    servers |= {name: running.containers[name] for name in ("monitor", "trainer")}
    for name, container in servers.items():
        _start(running, report, name, container)
    report.title("Confinement")
    for name, container in servers.items():
        _confinement(report, name, container)
    report.title("The loop")
    _loop(running, report)
    report.title("End")
    for name in ("trainer", "monitor", *_BACKENDS, "scheduler", "registry"):
        began = time.monotonic()
        code, grace = servers[name].stop()
        took = time.monotonic() - began
        is_so = code == 0 and took < grace
        report.line(f"{name} ends on SIGTERM by itself", is_so=is_so, detail=f"{took:.1f} s")


def _start(running: Platform, report: Report, name: str, container: Container) -> None:
    if name == "trainer":
        check = container.health_command()

        def is_ready() -> bool:
            return container.execute(*check, "ready").returncode == 0
    else:

        def is_ready() -> bool:
            return _answers(f"{running.url(name)}/readyz") or not container.is_running()

    came = wait_until(is_ready, _START_SECONDS) and container.is_running()
    if not report.line(f"{name} is ready", is_so=came):
        sys.stdout.write(container.logs()[-4000:])
    health = container.execute(*container.health_command())
    report.line(f"{name} is healthy to its image's check", is_so=health.returncode == 0)


def _confinement(report: Report, name: str, container: Container) -> None:
    user = container.execute("id", "-u").stdout.strip()
    report.line(f"{name} is no one", is_so=user == "10001", detail=f"uid {user}")
    written = [path for path in _UNWRITABLE if container.execute("touch", path).returncode == 0]
    report.line(f"{name} can't write to its image", is_so=not written, detail=", ".join(written))
    status = container.execute("cat", "/proc/1/status").stdout.split("\n")
    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    bare = int(fields["CapEff"], 16) == 0 and int(fields["CapBnd"], 16) == 0
    report.line(
        f"{name} has no capability and can gain none",
        is_so=bare and fields["NoNewPrivs"].strip() == "1",
    )


def _loop(running: Platform, report: Report) -> None:
    container = running.start(
        "cli",
        image=running.containers["scheduler"].image,
        entrypoint=["python", "/opt/smoke-test/smoke.py"],
        mounts={"/opt/smoke-test": _ROUND},
        environment={
            "TRAINING_SMOKE_TEST_SCHEDULER_URL": running.url("scheduler"),
            "TRAINING_SMOKE_TEST_REGISTRY_URL": running.url("registry"),
            "TRAINING_SMOKE_TEST_SERVING_URL": running.url("serving"),
            "TRAINING_SMOKE_TEST_MONITOR_URL": running.url("monitor"),
            "TRAINING_SMOKE_TEST_TOKEN_FILE": "/run/secrets/token-submitter",
        },
    )
    code = container.wait()
    sys.stdout.write(container.logs())
    report.line("a model is trained, gated, promoted and served by TorchServe", is_so=code == 0)
    token = (running.secrets / "token-reader").read_text(encoding="utf-8")
    model = f"{running.url('serving-onnx')}/v2/models/smoke-test/ready"
    served = wait_until(lambda: _answers(model, token), _START_SECONDS)
    report.line("the other server has it in ONNX Runtime", is_so=served)
    jobs = running.start("cli", "trainctl", entrypoint=["python", "-m", "services.cli", "jobs"])
    report.line("trainctl lists the job", is_so=jobs.wait() == 0 and "completed" in jobs.logs())


def _answers(url: str, token: str = "") -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx.get(url, headers=headers, timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main())
