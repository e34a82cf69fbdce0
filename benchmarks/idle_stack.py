"""The whole of `trainctl up` at rest, with one model in TorchServe: memory and CPU."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from benchmarks.digits_bundle import MODEL, export, put_into_production
from benchmarks.figures import Figure
from benchmarks.processes import ROOT
from benchmarks.usage import cpu_seconds, memory_bytes
from services.cli.stack.state import StackState, read_state
from utils.service.auth import Role
from utils.service.clients.registry import RegistryClient
from utils.service.embedded.child import Child
from utils.service.http import ServiceClient

SETTLING_SECONDS = 20
SECONDS = 30
PATIENCE_SECONDS = 180
MB = 1e6


def run() -> list[Figure]:
    """Start it, have a model served, and let it rest."""
    with tempfile.TemporaryDirectory() as name, stack(Path(name)) as state:
        serve_model(state, Path(name))
        time.sleep(SETTLING_SECONDS)
        pids = {service.name: service.pid for service in state.services if service.pid is not None}
        pids = {"all processes": state.pid, **pids}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        time.sleep(SECONDS)
        cores = {name: (cpu_seconds(pid) - before[name]) / SECONDS for name, pid in pids.items()}
        memory = {name: memory_bytes(pid) / MB for name, pid in pids.items()}
    total = Figure("memory of all processes", memory.pop("all processes"), "MB", at_most=1500)
    parts = [
        Figure(f"  {name}", megabytes, "MB", against=f"{cores[name]:.3f} cores")
        for name, megabytes in memory.items()
    ]
    return [total, *parts, Figure("CPU of all processes", cores["all processes"], "cores")]


@contextmanager
def stack(folder: Path) -> Iterator[StackState]:
    """`trainctl up`, once all is ready."""
    place = folder / "stack"
    process = Child("trainctl", folder / "trainctl.log")
    command = [sys.executable, "-m", "services.cli", "up", "--backend=torchserve"]
    process.start([*command, "--folder", place], cwd=ROOT)
    try:
        process.wait_until(lambda: is_ready(place), PATIENCE_SECONDS)
        state = read_state(place)
        assert state is not None
        yield state
    finally:
        process.stop(PATIENCE_SECONDS)


def is_ready(place: Path) -> bool:
    """Have all services been ready once?"""
    state = read_state(place)
    return state is not None and state.is_ready


def serve_model(state: StackState, folder: Path) -> None:
    """Promote a model, and wait until it is served."""

    def registry(role: Role) -> RegistryClient:
        return RegistryClient(ServiceClient(state.urls["registry"][0], state.token_files[role]))

    put_into_production(export(folder), registry("trainer"), registry("admin"))
    token = state.token_files["reader"].read_text(encoding="utf-8").strip()
    url = f"{state.urls['serving'][0]}/v2/models/{MODEL}/ready"
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while urllib3.request("GET", url, headers=headers, retries=False).status != 200:
        assert time.monotonic() < deadline, "The model is not served; see serving's log."
        time.sleep(0.2)
