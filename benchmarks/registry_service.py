"""The registry over HTTP: CPU time of a call and memory, beside a stock MLflow server.

Both stand on the same Postgres and are asked in turns, by four clients at once. A call's time is
that of the server's processes and of Postgres for it.
"""

from __future__ import annotations

import re
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.http_load import CLIENTS, Call, Cost, Target
from benchmarks.peers import MLFLOW
from benchmarks.peers.mlflow_server import POINTS, VERSIONS, mlflow_calls, mlflow_server
from benchmarks.pgbench import pgbench
from benchmarks.processes import client, registry, write_roles
from benchmarks.usage import cpu_seconds, memory_bytes
from utils.service.clients.registry import RegistryClient
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer
from utils.training.database import open_database

ROUNDS = 5
CALLS = 100  # of a kind in a round
WARM_UP = 20
MB = 1e6

Peer = tuple[Target, Mapping[str, Call]]
Costs = Mapping[str, Cost]  # of a call, by kind


def run() -> list[Figure]:
    """Ask both in turns."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        assert postgres.pid is not None
        peers = [stack.enter_context(ours(folder, postgres))]
        if (MLFLOW / "bin" / "mlflow").exists():
            peers.append(stack.enter_context(theirs(folder, postgres)))
        else:
            print("MLflow is left out; get it by `python -m benchmarks.peers mlflow`.")
        costs = in_turns(peers)
        memory = [memory_bytes(target.server) / MB for target, _ in peers]
        pgbench_ms = transaction_ms(postgres)
    figures = own_figures(costs[0], memory[0], pgbench_ms)
    return figures + [
        figure
        for c, m in zip(costs[1:], memory[1:], strict=True)
        for figure in comparison(costs[0], c, memory[0], m)
    ]


def in_turns(peers: list[Peer]) -> list[Costs]:
    """The mean cost of each kind of call over all rounds."""
    found: list[dict[str, list[Cost]]] = [{kind: [] for kind in calls} for _, calls in peers]
    for turn in range(ROUNDS + 1):
        for kind in peers[0][1]:
            for (target, calls), costs in zip(peers, found, strict=True):
                cost = target.cost(calls[kind], CALLS if turn else WARM_UP)
                if turn:
                    costs[kind].append(cost)
    return [{kind: mean(costs) for kind, costs in of_peer.items()} for of_peer in found]


def mean(costs: Iterable[Cost]) -> Cost:
    """The mean of each part; ticks of the kernel's clock even out."""
    return Cost(*(statistics.mean(parts) for parts in zip(*costs, strict=True)))


def own_figures(costs: Costs, megabytes: float, pgbench_ms: float) -> list[Figure]:
    """What the registry takes by itself."""
    over_all = mean(costs.values())
    parts = f"service {over_all.server:.2f} ms, its Postgres {over_all.database:.2f} ms"
    return [
        Figure("CPU of a call, over all kinds", over_all.total, "ms", at_most=3, against=parts),
        Figure(
            "Postgres' CPU of a call / of pgbench's simple update",
            over_all.database / pgbench_ms,
            against=f"{pgbench_ms:.2f} ms a transaction",
        ),
        Figure("memory", megabytes, "MB", at_most=150),
    ]


def comparison(own: Costs, peer: Costs, own_megabytes: float, megabytes: float) -> list[Figure]:
    """MLflow beside the registry."""
    totals = [mean(costs.values()).total for costs in (peer, own)]
    return [
        Figure(
            "MLflow / registry, CPU of a call, over all kinds",
            totals[0] / totals[1],
            at_least=3,
            against=f"{totals[0]:.1f} ms to {totals[1]:.2f} ms",
        ),
        *(
            Figure(
                f"MLflow / registry, {kind}",
                peer[kind].total / own[kind].total,
                against=f"{peer[kind].total:.1f} ms to {own[kind].total:.2f} ms",
            )
            for kind in own
        ),
        Figure(
            "MLflow / registry, memory",
            megabytes / own_megabytes,
            against=f"{megabytes:.0f} MB to {own_megabytes:.0f} MB",
        ),
    ]


def transaction_ms(postgres: PostgresServer) -> float:
    """Postgres' CPU time of a simple update, as pgbench makes them."""
    url = postgres.create_database("pgbench")
    pgbench("-i", "-q", url)
    assert postgres.pid is not None
    begin = cpu_seconds(postgres.pid)
    report = pgbench("--builtin=simple-update", f"--client={CLIENTS}", "--time=3", url)
    used = cpu_seconds(postgres.pid) - begin
    found = re.search(r"actually processed: ([0-9]+)", report)
    assert found is not None, report
    return 1000 * used / int(found[1])


@contextmanager
def ours(folder: Path, postgres: PostgresServer) -> Iterator[Peer]:
    """The registry."""
    write_roles(folder)
    database = postgres.create_database("registry")
    open_database(database).dispose()  # with its tables
    with (
        ValkeyServer(folder / "valkey") as valkey,
        registry(folder, database, REDIS_URL=valkey.url()) as served,
    ):
        target = Target(served, postgres, {"Authorization": "Bearer admin-token"})
        artifact = folder / "bundle.tar"
        artifact.write_bytes(b"a bundle" * 1000)
        digest = RegistryClient(client(served.url, folder, "trainer")).upload(artifact)
        yield target, registry_calls(target, digest)


@contextmanager
def theirs(folder: Path, postgres: PostgresServer) -> Iterator[Peer]:
    """MLflow."""
    with mlflow_server(folder, postgres.create_database("mlflow")) as served:
        target = Target(served, postgres, {})
        yield target, mlflow_calls(target)


def registry_calls(target: Target, digest: str) -> Mapping[str, Call]:
    """The registry's calls by kind, on models, versions and a run that are made here."""

    def version_of(name: str) -> dict[str, str]:
        return {"name": name, "bundle_digest": digest, "task_type": "vision_classification"}

    versions = [target.ask("POST", "/v1/models", version_of("digits")) for _ in range(POINTS)]
    ids = [version["model_id"] for version in versions[:VERSIONS]]
    forced = {"force": True, "reason": "to be measured"}
    target.ask("POST", f"/v1/models/{ids[0]}/promote", forced)
    run_id = target.ask("POST", "/v1/runs", {"name": "digits"})["run_id"]
    losses = [{"name": "loss", "value": 1 / (step + 1), "step": step} for step in range(POINTS)]
    target.ask("POST", f"/v1/runs/{run_id}/metrics", {"points": losses})

    def batch(number: int) -> dict[str, object]:
        points = [
            {"name": f"m{n % 10}", "value": n, "step": 10 * number + n // 10} for n in range(POINTS)
        ]
        return {"points": points}

    return {
        "create version": lambda _: ("POST", "/v1/models", version_of("scans")),
        "get version": lambda n: ("GET", f"/v1/models/{ids[n % VERSIONS]}", None),
        "get production": lambda _: ("GET", "/v1/models/tagged?name=digits", None),
        "promote": lambda n: ("POST", f"/v1/models/{ids[n % VERSIONS]}/promote", forced),
        "create run": lambda n: ("POST", "/v1/runs", {"name": "digits", "tags": {"job": str(n)}}),
        "log 100 metrics": lambda n: ("POST", f"/v1/runs/{run_id}/metrics", batch(n)),
        "history of 100": lambda _: (
            "GET",
            f"/v1/runs/{run_id}/metrics?name=loss&limit={POINTS}",
            None,
        ),
        "list 100 versions": lambda _: ("GET", f"/v1/models?name=digits&limit={POINTS}", None),
    }
