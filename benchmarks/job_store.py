"""The job queue: claims in a long queue, and claims at once."""

from __future__ import annotations

import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import insert

from benchmarks.figures import Figure
from benchmarks.pgbench import pgbench
from utils.service.embedded.postgres import PostgresServer
from utils.training.database import open_database
from utils.training.job_queue import JobManager
from utils.training.job_queue.tables import job

SHORT, LONG = 100, 100_000
PAIRS = 400
CLAIMERS = 8
SECONDS = 2
ROUNDS = 9


def run() -> list[Figure]:
    """Measure on SQLite and on a Postgres of its own."""
    with tempfile.TemporaryDirectory() as folder, PostgresServer(Path(folder) / "server") as server:
        return [
            long_queue("SQLite", f"{folder}/short.db", f"{folder}/long.db"),
            long_queue("Postgres", server.create_database("short"), server.create_database("long")),
            many_claimers(server),
        ]


def long_queue(database: str, short_queue: str, long_queue: str) -> Figure:
    """Claim from both queues in turn, so that both meet the same noise."""
    queues = [filled(short_queue, SHORT), filled(long_queue, LONG)]
    milliseconds: list[list[float]] = [[], []]
    for _ in range(PAIRS):
        for queue, times in zip(queues, milliseconds, strict=True):
            begin = time.perf_counter()
            claimed = queue.claim_job("benchmark")
            times.append((time.perf_counter() - begin) * 1000)
            assert claimed is not None
            queue.submit_job("training", {}, priority=claimed.priority)
    short, long = (statistics.median(times) for times in milliseconds)
    return Figure(
        f"claim at {LONG:,} pending / at {SHORT}, {database}",
        long / short,
        at_most=1.5,
        against=f"{short:.2f} ms at {SHORT}",
    )


def filled(location: str, count: int) -> JobManager:
    """A queue with so many pending jobs of ten priorities."""
    engine, now = open_database(location), datetime.now(UTC)
    row = {
        "job_type": "training",
        "config": {"training_config": {"learning_rate": 3e-4}},
        "status": "pending",
        "status_since": now,
        "attempt": 1,
        "max_attempts": 3,
        "fencing_token": 0,
        "run_after": now,
        "nudge_after": now,
        "num_nudges": 0,
        "unmet_dependencies": 0,
        "trace_id": "benchmark",
        "content_digest": "",
        "submitted_at": now,
    }
    with engine.begin() as connection:
        for start in range(0, count, 10_000):
            numbers = range(start, min(start + 10_000, count))
            connection.execute(insert(job), [row | {"priority": n % 10} for n in numbers])
    return JobManager(engine)


def many_claimers(server: PostgresServer) -> Figure:
    """Claim from many processes, and let pgbench update as many rows as it can, in turn."""
    peer = server.create_database("peer")
    pgbench("-i", "-q", peer)
    claims_url = server.create_database("claims")
    filled(claims_url, LONG)
    ratios, rates = [], []
    for claim_rate in _claim_rates(claims_url):
        rates.append(_peer_rate(peer))
        ratios.append(claim_rate / rates[-1])
    return Figure(
        f"{CLAIMERS} claimers / pgbench simple update, Postgres",
        statistics.median(ratios),
        at_least=0.5,
        against=f"{statistics.median(rates):.0f} transactions/s",
    )


def _peer_rate(url: str) -> float:
    report = pgbench(
        "--builtin=simple-update", f"--client={CLAIMERS}", "--jobs=2", f"--time={SECONDS}", url
    )
    found = re.search(r"tps = ([0-9.]+)", report)
    assert found is not None, report
    return float(found[1])


def _claim_rates(url: str) -> Iterator[float]:
    """Claims a second, round by round; the claimers rest between two rounds."""
    context = multiprocessing.get_context("spawn")
    begin, counts = context.Barrier(CLAIMERS + 1), context.Queue()
    claimers = [
        context.Process(target=_claim_in_rounds, args=(url, begin, counts)) for _ in range(CLAIMERS)
    ]
    for claimer in claimers:
        claimer.start()
    for _ in range(ROUNDS):
        begin.wait()
        yield sum(counts.get(timeout=120) for _ in claimers) / SECONDS
    for claimer in claimers:
        claimer.join()


def _claim_in_rounds(url: str, begin: Barrier, counts: multiprocessing.Queue[int]) -> None:
    manager = JobManager(url)
    manager.claim_job("warm-up")
    for _ in range(ROUNDS):
        begin.wait()
        end, count = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            count += manager.claim_job("benchmark") is not None
        counts.put(count)
