"""From submitting a job to its training's first step, beside starting that training by hand.

The job goes through the whole platform: scheduler, Postgres, Valkey, trainer, a process of its
own, registry. By hand it is `python training_script.py`. Both end at the first optimizer step.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import registry, scheduler, trainer, write_roles
from benchmarks.training_script import SETTINGS
from utils.service.clients.scheduler import SchedulerClient
from utils.service.embedded.child import Child
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer
from utils.training.database import open_database

ROUNDS = 9  # and one before them, which warms the page cache
MODEL = "benchmarks.training_script:noting_model"
PATIENCE_SECONDS = 120


def run() -> list[Figure]:
    """Start the training both ways in turns."""
    with tempfile.TemporaryDirectory() as name, platform(Path(name)) as jobs:
        pairs = [(by_job(jobs, Path(name)), by_hand(Path(name))) for _ in range(ROUNDS + 1)][1:]
    hand = statistics.median(seconds for _, seconds in pairs)
    return [
        Figure(
            "job submitted to first step / by hand",
            statistics.median(job / seconds for job, seconds in pairs),
            at_most=1.3,
            against=f"{hand:.2f} s by hand",
        )
    ]


@contextmanager
def platform(folder: Path) -> Iterator[SchedulerClient]:
    """Everything that a job needs, with the settings that the services have by themselves."""
    write_roles(folder)
    with ExitStack() as stack:
        database = stack.enter_context(PostgresServer(folder / "postgres")).create_database("bench")
        open_database(database).dispose()  # with its tables
        redis = stack.enter_context(ValkeyServer(folder / "valkey")).url()
        models = stack.enter_context(registry(folder, database)).url
        queue = stack.enter_context(scheduler(folder, database, redis)).url
        stack.enter_context(trainer(folder, queue, models, redis, ENTRY_POINTS=MODEL))
        client = SchedulerClient(queue, folder / "submitter")
        stack.callback(client.close)
        client.list_jobs()  # the connection is there
        yield client


def by_job(jobs: SchedulerClient, folder: Path) -> float:
    """Seconds from the submission to the first step; the job is cancelled then."""
    note = folder / "job.note"
    config = {
        "model_name": "digits",
        "model": {"entry_point": MODEL, "arguments": {"note": str(note)}},
        "data": [{"kind": "sample", "location": "digits"}],
        "validation": {"kind": "sample", "location": "digits", "part": "validation"},
        "training_config": SETTINGS,
    }
    start = time.time()
    job = jobs.submit("training", config)
    seconds = noted(note) - start
    jobs.cancel(job.job_id)
    while not jobs.get_job(job.job_id).is_finished:
        time.sleep(0.1)
    return seconds


def by_hand(folder: Path) -> float:
    """Seconds from starting the script to its first step; it is killed then."""
    note = folder / "hand.note"
    script = Path(__file__).with_name("training_script.py")
    root = script.parents[1]
    env = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'shared'}"}
    process = Child("script", folder / "script.log")
    start = time.time()
    process.start([sys.executable, script, note], env=env)
    try:
        return noted(note) - start
    finally:
        process.kill()


def noted(note: Path) -> float:
    """The time in a note, once it is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not note.exists():
        assert time.monotonic() < deadline, f"{note} has not come; see the logs beside it."
        time.sleep(0.005)
    found = float(note.read_text(encoding="ascii"))
    note.unlink()
    return found
