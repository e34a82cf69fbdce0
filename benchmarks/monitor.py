"""The monitor: summaries of one core, beside merely reading the stream and decoding its JSON."""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import redis

from benchmarks.figures import Figure
from services.monitor.stream.entries import Entries
from services.monitor.windows.judging import Judge
from services.monitor.windows.open_window import OpenWindow
from utils.service.contracts.predictions import STREAM, PredictionSummary
from utils.service.embedded.valkey import ValkeyServer
from utils.training.drift_metrics import profile_dataset
from utils.training.task_spec import TaskSpec

SUMMARIES, WINDOW_ROWS, BATCH = 20_000, 500, 500
NAMES = tuple(f"x{number}" for number in range(6))


def run() -> list[Figure]:
    data = np.random.default_rng(0).normal(size=(5000, len(NAMES)))
    reference = profile_dataset(data, TaskSpec(name="rows", modality="tabular"))
    with tempfile.TemporaryDirectory() as folder, ValkeyServer(Path(folder)) as server:
        client = redis.Redis.from_url(server.url())
        fill(client, data)
        plain = min(read_plainly(client) for _ in range(3))
        watched = min(watch(client, reference) for _ in range(3))
        client.close()
    print(f"{SUMMARIES / watched:,.0f} summaries a second, {SUMMARIES / plain:,.0f} read plainly")
    return [Figure("time of a summary, to reading and decoding it", watched / plain, at_most=4)]


def fill(client, data):
    pipeline = client.pipeline(transaction=False)
    for number in range(SUMMARIES):
        row = data[number % len(data)]
        told = PredictionSummary(
            model_name="rows",
            model_version="1",
            at=datetime.now(UTC),
            latency_ms=1.0,
            rows=1,
            features={name: [float(value)] for name, value in zip(NAMES, row, strict=True)},
        )
        pipeline.xadd(STREAM, {"summary": told.model_dump_json()})
    pipeline.execute()


def read_plainly(client):
    started, last = time.process_time(), "0"
    while found := client.xrange(STREAM, f"({last}" if last != "0" else "-", count=BATCH):
        for entry_id, fields in found:
            json.loads(fields[b"summary"])
            last = entry_id.decode()
    return time.process_time() - started


def watch(client, reference):
    entries, judge = Entries(client), Judge(0.1, 0.2)
    started, window = time.process_time(), None
    client.xgroup_destroy(STREAM, "monitor") if client.xinfo_groups(STREAM) else None
    entries.rewind()
    while found := entries.read(BATCH, 1):
        for entry_id, text in found:
            told = PredictionSummary.model_validate_json(text)
            window = window or OpenWindow.beginning_with(told)
            window.add(entry_id, told)
            if window.rows >= WINDOW_ROWS:
                judge.finish(window, reference, {})
                client.xack(STREAM, "monitor", *window.entry_ids)
                window = None
    return time.process_time() - started
