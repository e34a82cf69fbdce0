"""A stock MLflow server, and the calls of its API that do what ours do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.http_load import Call, Target
from benchmarks.peers import MLFLOW
from benchmarks.processes import Served, child
from utils.service.embedded.child import free_port

PREFIX = "/api/2.0/mlflow"
VERSIONS, POINTS = 4, 100


@contextmanager
def mlflow_server(folder: Path, database: str) -> Iterator[Served]:
    """The server as its documentation starts it for a team, telling nobody."""
    port = free_port()
    command = [str(MLFLOW / "bin" / "mlflow"), "server", f"--port={port}"]
    command += [f"--default-artifact-root={folder / 'mlartifacts'}"]
    # Psycopg 3 by name; in the environment, so that no password is in a process list.
    store = database.replace("postgresql://", "postgresql+psycopg://")
    env = {name: text for name, text in os.environ.items() if not name.startswith("MLFLOW_")}
    env |= {"MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with child("mlflow", folder, command, env, f"http://127.0.0.1:{port}", "/health") as served:
        yield served


def mlflow_calls(target: Target) -> Mapping[str, Call]:
    """Its calls by kind, on models, versions and a run that are made here."""

    def post(path: str, **body: object) -> dict:
        return target.ask("POST", PREFIX + path, body)

    for name in ("digits", "scans"):
        post("/registered-models/create", name=name)
    for number in range(POINTS):
        post("/model-versions/create", name="digits", source=f"s3://bundles/{number}")
    experiment = post("/experiments/create", name="digits")["experiment_id"]
    run_id = post("/runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    for step in range(POINTS):
        point = {"key": "loss", "value": 1 / (step + 1), "timestamp": _now(), "step": step}
        post("/runs/log-metric", run_id=run_id, **point)
    alias = {"name": "digits", "alias": "production"}
    post("/registered-models/alias", **alias, version="1")

    def batch(number: int) -> list[dict]:
        return [
            {"key": f"m{n % 10}", "value": n, "timestamp": _now(), "step": 10 * number + n // 10}
            for n in range(POINTS)
        ]

    get, post_to = _getting, _posting
    return {
        "create version": lambda n: post_to(
            "/model-versions/create", name="scans", source=f"s3://bundles/{n}", run_id=run_id
        ),
        "get version": lambda n: get(f"/model-versions/get?name=digits&version={1 + n % VERSIONS}"),
        "get production": lambda _: get("/registered-models/alias?name=digits&alias=production"),
        "promote": lambda n: post_to(
            "/registered-models/alias", **alias, version=str(1 + n % VERSIONS)
        ),
        "create run": lambda n: post_to(
            "/runs/create", experiment_id=experiment, tags=[{"key": "job", "value": str(n)}]
        ),
        "log 100 metrics": lambda n: post_to("/runs/log-batch", run_id=run_id, metrics=batch(n)),
        "history of 100": lambda _: get(
            f"/metrics/get-history?run_id={run_id}&metric_key=loss&max_results={POINTS}"
        ),
        "list 100 versions": lambda _: get(
            f"/model-versions/search?filter=name%3D%27digits%27&max_results={POINTS}"
        ),
    }


def _getting(path: str) -> tuple[str, str, None]:
    return "GET", PREFIX + path, None


def _posting(path: str, **body: object) -> tuple[str, str, object]:
    return "POST", PREFIX + path, body


def _now() -> int:
    return int(time.time() * 1000)
