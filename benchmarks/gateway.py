"""The gateway: one example over kept-alive HTTP, against plain Flask, gunicorn and ONNX Runtime.

All servers have the same model and take the same body; they are asked in turns. The gateway checks
tokens, rates, shapes and ranges, counts, traces and tells the monitor; the plain one does not.
TorchServe alone, asked as the gateway asks it, is what its back end can't fall below.

Requests come with pauses, as users send them, and again back to back. Three processes answer behind
the gateway, one after the other: at each, a core that slept must wake, which takes longer the
longer it slept. Asked back to back, the one process of the plain server never sleeps.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import urllib3

from benchmarks.digits_bundle import export, put_into_production
from benchmarks.figures import Figure
from benchmarks.processes import child, client, registry, service, write_roles
from services.serving.backends.protocol import Version
from services.serving.backends.torchserve import TorchServeBackend
from utils.service.clients.registry import RegistryClient
from utils.service.embedded.child import free_port
from utils.service.embedded.valkey import ValkeyServer
from utils.training.database import open_database

ROUNDS = 12
REQUESTS = 50  # of a round
PAUSE_SECONDS = 0.01
WARM_UP = 100

Ask = Callable[[], object]


def run() -> list[Figure]:
    """Start the servers, ask them in turns, and compare."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        bundle = export(folder)
        redis_url = stack.enter_context(ValkeyServer(folder / "valkey")).url()
        registry_url = stack.enter_context(registry_with(bundle, folder))
        plain = stack.enter_context(plain_server(folder, bundle))
        asks = {"plain": asking(f"{plain}/v2/models/digits/infer", bundle)}
        for backend in ("onnx", "torchserve"):
            url = stack.enter_context(gateway(folder, registry_url, redis_url, backend))
            asks[backend] = asking(f"{url}/v2/models/digits/infer", bundle)
        asks["alone"] = stack.enter_context(torchserve_alone(folder, bundle))
        paced, at_once = in_turns(asks, PAUSE_SECONDS), in_turns(asks, 0)
    return [
        *comparison("", paced, at_most=2.5),
        *comparison(", back to back", at_once, at_most=None),
    ]


def comparison(
    pace: str, milliseconds: dict[str, list[float]], at_most: float | None
) -> list[Figure]:
    """What each takes, beside the plain server; the gateway with TorchServe has a bound."""
    plain = milliseconds["plain"]
    return [
        *figures(f"gateway with ONNX Runtime{pace}", milliseconds["onnx"], plain, None),
        *figures(f"gateway with TorchServe{pace}", milliseconds["torchserve"], plain, at_most),
        *figures(f"TorchServe alone{pace}", milliseconds["alone"], plain, None),
    ]


def figures(
    name: str, ours: list[float], plain: list[float], at_most: float | None
) -> list[Figure]:
    """The ratios of the medians, and of the slowest hundredths."""
    return [
        Figure(
            f"{name} / plain, {percentile}",
            of(ours) / of(plain),
            at_most=at_most if of is p50 else None,
            against=f"{of(ours):.2f} ms to {of(plain):.2f} ms",
        )
        for percentile, of in (("p50", p50), ("p99", p99))
    ]


def p50(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def p99(values: list[float]) -> float:
    """What 99 of 100 stay below."""
    return statistics.quantiles(values, n=100)[-1]


def in_turns(asks: dict[str, Ask], pause_seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each request, round by round, with a pause before each."""
    for ask in asks.values():
        for _ in range(WARM_UP):
            ask()
    found: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(ROUNDS):
        for name, ask in asks.items():
            for _ in range(REQUESTS):
                time.sleep(pause_seconds)
                start = time.perf_counter()
                ask()
                found[name].append((time.perf_counter() - start) * 1000)
    return found


def asking(url: str, bundle: Path) -> Ask:
    """A client with one connection and one example."""
    body = json.dumps({"inputs": [example(bundle)]})
    headers = {"Content-Type": "application/json", "Authorization": "Bearer reader-token"}
    pool = urllib3.PoolManager(headers=headers, retries=False)

    def ask() -> None:
        answer = pool.request("POST", url, body=body)
        assert answer.status == 200, answer.data

    return ask


def example(bundle: Path) -> dict[str, Any]:
    """The first example of a bundle's own sample, as a tensor of the protocol."""
    sample = json.loads((bundle / "sample_input.json").read_text(encoding="utf-8"))["tensors"][0]
    size = len(sample["data"]) // sample["shape"][0]
    found: dict[str, Any] = sample
    return found | {"shape": [1, *sample["shape"][1:]], "data": sample["data"][:size]}


@contextmanager
def registry_with(bundle: Path, folder: Path) -> Iterator[str]:
    """A registry whose production version is the bundle."""
    write_roles(folder)
    open_database(str(folder / "registry.db")).dispose()  # with its tables
    with registry(folder, folder / "registry.db") as served:
        trainer, admin = (
            RegistryClient(client(served.url, folder, role)) for role in ("trainer", "admin")
        )
        put_into_production(bundle, trainer, admin)
        yield served.url


@contextmanager
def gateway(folder: Path, registry_url: str, redis_url: str, backend: str) -> Iterator[str]:
    """Serving with a back end, ready to answer."""
    values = {
        "REGISTRY_URL": registry_url,
        "REDIS_URL": redis_url,
        "TOKEN_FILE": folder / "reader",
        "WORK_FOLDER": folder / backend,
        "BACKEND": backend,
    }
    with service("serving", folder, values) as served:
        yield served.url


@contextmanager
def torchserve_alone(folder: Path, bundle: Path) -> Iterator[Ask]:
    """A client of TorchServe itself: the gateway's own, with nothing around it."""
    version = Version(name="digits", version="1", model_id=1, digest="0" * 64, folder=bundle)
    tensor = example(bundle)
    array = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    with closing(TorchServeBackend(folder / "alone")) as backend:
        backend.load(version)
        yield lambda: backend.infer(version, {tensor["name"]: array})


@contextmanager
def plain_server(folder: Path, bundle: Path) -> Iterator[str]:
    """Flask, gunicorn and ONNX Runtime, and nothing else."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "benchmarks.peers.plain_server:app"]
    command += ["--worker-class=gthread", "--threads=8", f"--bind=127.0.0.1:{port}"]
    command += ["--keep-alive=75", "--no-control-socket"]
    env = {**os.environ, "PLAIN_SERVER_MODEL": str(bundle / "artifacts" / "model.onnx")}
    with child("plain", folder, command, env, f"http://127.0.0.1:{port}", "/") as served:
        yield served.url
