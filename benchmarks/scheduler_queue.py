"""The scheduler with 1,000 jobs waiting, beside itself with none: CPU and memory.

CPU is that of the scheduler and of its Postgres. Nobody claims the jobs; so all of them wait, and
each was announced.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure
from benchmarks.processes import Served, scheduler, write_roles
from benchmarks.usage import cpu_seconds, memory_bytes
from utils.service.clients.scheduler import SchedulerClient
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer
from utils.training.database import open_database

JOBS, HUNDRED = 1000, 100
WARM_UP = 50
WINDOWS, IDLE_SECONDS = 3, 20  # Postgres vacuums in one of them at most
ANNOUNCING_SECONDS = 2  # more than the publisher's interval
# Ticks of the kernel's clock and Postgres' own chores are some hundredths; a cost that grew by
# a tenth of a thousandth with each waiting job would be more than these.
AT_MOST = 1.2


class Scene(NamedTuple):
    """A scheduler, and how to speak to it."""

    client: SchedulerClient
    server: int
    database: int

    @property
    def cpu(self) -> float:
        """Seconds so far."""
        return cpu_seconds(self.server, self.database)

    @property
    def memory(self) -> float:
        """Megabytes of the scheduler."""
        return memory_bytes(self.server) / 1e6


def run() -> list[Figure]:
    """Look at it at rest, fill its queue, and look again."""
    with tempfile.TemporaryDirectory() as name, scene(Path(name)) as at:
        submit(at, WARM_UP, cancelled=True)
        empty = idle(at)
        hundreds, memory = [], []
        for _ in range(JOBS // HUNDRED):
            hundreds.append(submit(at, HUNDRED))
            memory.append(at.memory)
        full = idle(at)
    return [
        Figure(
            f"idle CPU with {JOBS:,} jobs waiting / with none",
            full / empty,
            at_most=AT_MOST,
            against=f"{1000 * empty:.1f} ms a second with none",
        ),
        Figure(
            f"CPU of a submitted job, the last {HUNDRED} / the first",
            hundreds[-1] / hundreds[0],
            at_most=AT_MOST,
            against=f"{1000 * hundreds[0]:.1f} ms, its announcement included",
        ),
        Figure(
            f"memory after {JOBS:,} jobs / after {HUNDRED}",
            memory[-1] / memory[0],
            at_most=1.05,
            against=f"{memory[0]:.0f} MB",
        ),
    ]


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """A scheduler with the settings that it has by itself."""
    write_roles(folder)
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        database = postgres.create_database("scheduler")
        open_database(database).dispose()  # with its tables
        redis = stack.enter_context(ValkeyServer(folder / "valkey")).url()
        served: Served = stack.enter_context(scheduler(folder, database, redis))
        client = SchedulerClient(served.url, folder / "submitter")
        stack.callback(client.close)
        assert postgres.pid is not None
        yield Scene(client, served.pid, postgres.pid)


def idle(at: Scene) -> float:
    """CPU seconds of a second in which nobody asks for anything."""
    time.sleep(ANNOUNCING_SECONDS)
    return statistics.median(window(at) for _ in range(WINDOWS))


def window(at: Scene) -> float:
    """CPU seconds of a second, over some of them."""
    before = at.cpu
    time.sleep(IDLE_SECONDS)
    return (at.cpu - before) / IDLE_SECONDS


def submit(at: Scene, count: int, *, cancelled: bool = False) -> float:
    """CPU seconds of a job that is submitted and announced."""
    config = {
        "model_name": "digits",
        "model": {"entry_point": "services.trainer.samples.digits:build_model"},
        "data": [{"kind": "sample", "location": "digits"}],
        "training_config": {"epochs": 5, "batch_size": 32, "learning_rate": 4e-3},
    }
    before = at.cpu
    jobs = [at.client.submit("training", config) for _ in range(count)]
    time.sleep(ANNOUNCING_SECONDS)
    used = at.cpu - before
    for job in jobs if cancelled else ():
        at.client.cancel(job.job_id)
    return used / count
