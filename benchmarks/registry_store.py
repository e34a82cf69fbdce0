"""Models and runs on Postgres, beside the same SQL through the bare driver on the same server."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import psycopg

from benchmarks.figures import Figure
from utils.service.embedded.postgres import PostgresServer
from utils.training.experiment_db import ExperimentDB, MetricPoint
from utils.training.experiment_db.tables import run_metric
from utils.training.model_registry import ModelRegistry
from utils.training.model_registry.tables import model

ROUNDS = 300
BATCHES = 15
POINTS = 1000
METRICS = {"val_loss": 0.38, "perplexity": 1.46, "accuracy": 0.91}

_MODEL = [column.name for column in model.c if column.name != "id"]
_INSERT_MODEL = (
    f"INSERT INTO model ({', '.join(_MODEL)}) "
    f"VALUES ({', '.join(f'%({name})s' for name in _MODEL)}) RETURNING id"
)
_INSERT_METRIC = "INSERT INTO model_metric (model_id, name, value) VALUES (%s, %s, %s)"
_READ = [n for n in _MODEL if not n.endswith(("_profile", "_key", "content_digest"))]
_SELECT_MODEL = f"SELECT id, {', '.join(_READ)} FROM model WHERE id = %s"
_SELECT_METRICS = "SELECT name, value FROM model_metric WHERE model_id = %s"
_POINT = [column.name for column in run_metric.c]
_UPSERT_POINT = (
    f"INSERT INTO run_metric ({', '.join(_POINT)}) "
    f"VALUES ({', '.join(f'%({name})s' for name in _POINT)}) "
    "ON CONFLICT (run_id, name, axis) DO UPDATE SET value = excluded.value, time = excluded.time"
)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, PostgresServer(Path(folder)) as server:
        url = server.create_database("bench")
        with ModelRegistry(url) as registry, psycopg.connect(url) as bare:
            figures = [_register(registry, bare), _get(registry, bare)]
        with ExperimentDB(url) as db, psycopg.connect(url) as bare:
            figures.append(_log_metrics(db, bare))
    return figures


def _register(registry: ModelRegistry, bare: psycopg.Connection) -> Figure:
    versions = count()
    now = datetime.now(UTC)
    row = dict.fromkeys(_MODEL) | {
        "name": "m",
        "tag": "experimental",
        "checkpoint_path": "s3://bucket/model.pt",
        "task_type": "language_modeling",
        "config_hash": "abc123",
        "training_run_id": 42,
        "export_formats": json.dumps(["onnx"]),
        "metadata": json.dumps({"notes": "a note"}),
        "artifact_digest": "ab" * 32,
        "model_size_mb": 450.2,
        "created_at": now,
        "tagged_at": now,
        "content_digest": "cd" * 32,
    }

    def ours() -> None:
        registry.register_model(
            name="m",
            version=f"v{next(versions)}",
            checkpoint_path="s3://bucket/model.pt",
            task_type="language_modeling",
            metrics=METRICS,
            config_hash="abc123",
            training_run_id=42,
            export_formats=["onnx"],
            model_size_mb=450.2,
            metadata={"notes": "a note"},
            artifact_digest="ab" * 32,
        )

    def theirs() -> None:
        with bare.transaction(), bare.cursor() as cursor:
            cursor.execute(_INSERT_MODEL, row | {"version": f"v{next(versions)}"})
            (model_id,) = cursor.fetchone()
            cursor.executemany(_INSERT_METRIC, [(model_id, *item) for item in METRICS.items()])

    return _ratio("register_model with 3 metrics", ours, theirs, ROUNDS, at_most=1.5)


def _get(registry: ModelRegistry, bare: psycopg.Connection) -> Figure:
    bare.autocommit = True
    model_id = registry.list_models(limit=1).items[0].model_id

    def theirs() -> None:
        bare.execute(_SELECT_MODEL, [model_id]).fetchone()
        bare.execute(_SELECT_METRICS, [model_id]).fetchall()

    return _ratio(
        "get_model by id", lambda: registry.get_model(model_id), theirs, 5 * ROUNDS, at_most=1.5
    )


def _log_metrics(db: ExperimentDB, bare: psycopg.Connection) -> Figure:
    run_id = db.log_run("bench")
    steps = count()
    now = datetime.now(UTC)

    def ours() -> None:
        first = next(steps) * POINTS
        db.log_metrics(run_id, [MetricPoint("loss", 0.5, step=first + n) for n in range(POINTS)])

    def theirs() -> None:
        first = next(steps) * POINTS
        rows = [
            {
                "run_id": run_id,
                "name": "loss",
                "axis": f"step={first + n}",
                "step": first + n,
                "epoch": None,
                "value": 0.5,
                "time": now,
            }
            for n in range(POINTS)
        ]
        with bare.transaction(), bare.cursor() as cursor:
            cursor.executemany(_UPSERT_POINT, rows)

    return _ratio(f"log_metrics of {POINTS:,} points", ours, theirs, BATCHES, at_most=2.0)


def _ratio(
    what: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    at_most: float,
) -> Figure:
    """The ratio of the fastest tenths, the two taken in turn: a busy machine only ever adds."""
    times: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
    for number in range(rounds + rounds // 5):
        for call, taken in times.items():
            start = time.perf_counter()
            call()
            if number >= rounds // 5:
                taken.append(time.perf_counter() - start)
    mine, bare = (statistics.quantiles(taken, n=10)[0] * 1000 for taken in times.values())
    return Figure(what, mine / bare, at_most=at_most, against=f"psycopg {bare:.3g} ms")
