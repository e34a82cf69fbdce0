"""The loop once, small, from outside: submit, train, pass the gate, be served. Exit 0 only then.

`helm test` runs this file in a pod; its settings are `TRAINING_SMOKE_TEST_...`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import RemoteError, ServiceClient
from utils.service.settings import Settings, read_settings

PREFIX = "TRAINING_SMOKE_TEST"
MODEL = "smoke-test"
BLANK = {"name": "pixel_values", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}
JOB = {
    "model_name": MODEL,
    "model": {"entry_point": "services.trainer.samples.digits:build_model"},
    "data": [{"kind": "sample", "location": "digits"}],
    "validation": {"kind": "sample", "location": "digits", "part": "validation"},
    "held_out": {"kind": "sample", "location": "digits", "part": "test"},
    "training_config": {
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 4e-3,
        "export_formats": ["onnx"],
        "progress_bar": False,
    },
}


class SmokeSettings(Settings):
    """Where the services are; None leaves one out."""

    scheduler_url: str
    registry_url: str
    serving_url: str | None = None
    monitor_url: str | None = None
    token_file: Path  # of a submitter's token
    timeout_seconds: float = 900


def main() -> int:
    """Go round once, and say how it went."""
    settings = read_settings(SmokeSettings, PREFIX)
    deadline = time.monotonic() + settings.timeout_seconds
    version = _train(settings, deadline)
    if settings.serving_url is not None:
        _predict(settings.serving_url, settings.token_file, version, deadline)
    if settings.monitor_url is not None:
        ServiceClient(settings.monitor_url, settings.token_file).call("GET", "/v1/drift")
        _say("The monitor answers.")
    _say("The loop works.")
    return 0


def _train(settings: SmokeSettings, deadline: float) -> str:
    """Train one model, and give the version that is in production then."""
    scheduler = SchedulerClient(settings.scheduler_url, settings.token_file)
    registry = RegistryClient(ServiceClient(settings.registry_url, settings.token_file))
    job = scheduler.submit("training", JOB)
    _say(f"Job {job.job_id} waits for a trainer.")

    def end() -> bool:
        return scheduler.get_job(job.job_id).is_finished

    _until(end, deadline, f"job {job.job_id} to end")
    done = scheduler.get_job(job.job_id)
    if done.status != "completed":
        _say(scheduler.read_log(job.job_id, -4000).content.decode(errors="replace"))
        sys.exit(f"Job {job.job_id} is {done.status}: {done.error}")
    champion = registry.tagged(MODEL)
    if champion is None:
        sys.exit(f"Job {job.job_id} is completed, and no version of {MODEL} is in production.")
    _say(f"Job {job.job_id} is completed; version {champion.version} is in production.")
    return champion.version


def _predict(url: str, token_file: Path, version: str, deadline: float) -> None:
    """Wait until serving answers with this version."""
    serving = ServiceClient(url, token_file)

    def answered() -> bool:
        try:
            answer = serving.call("POST", f"/v2/models/{MODEL}/infer", body={"inputs": [BLANK]})
        except RemoteError as error:
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}:
                return False
            raise
        return answer.headers["X-Model-Version"] == version

    _until(answered, deadline, f"serving to answer with version {version}")
    _say(f"Serving answers with version {version}.")


def _until(there: Callable[[], bool], deadline: float, what: str) -> None:
    while not there():
        if time.monotonic() > deadline:
            sys.exit(f"Waited in vain for {what}.")
        time.sleep(1)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
