"""Drift: false alarms, power, speed beside Evidently's report, and memory.

Evidently runs in an environment of its own: that of `EVIDENTLY_PYTHON`, or `.venv-evidently`, which
is built on the first run; without either, its figure is left out. Its report grows in
proportion to the rows, so it is given `EVIDENTLY_ROWS` of them (100,000; 1,000,000 takes minutes).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from utils.training.drift_metrics import (
    DatasetProfiler,
    DriftMetrics,
    compare_profiles,
    profile_dataset,
)
from utils.training.task_spec import TaskSpec

TABLE = TaskSpec(name="normal", modality="tabular")
WINDOWS = 2000
AT_ONCE = 20  # windows that share a reference
REFERENCE_ROWS = 5000
FEATURES = (1, 20, 50)
ROWS, COLUMNS = 1_000_000, 50
ENVIRONMENT = Path(__file__).parents[1] / ".venv-evidently"
PEER = Path(__file__).parent / "peers" / "evidently_report.py"
REQUIREMENTS = ("evidently==0.7.23", "pandas<3")


def run() -> list[Figure]:
    """Measure; the windows are shared out over the processors, with seeds of their own."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return [
            *[figure for rows in (100, 200, 1000) for figure in false_alarms(pool, rows)],
            power(pool, 0.2, 1000, 1, at_least=0.95),
            power(pool, 0.2, 10_000, 1, at_least=0.95),
            power(pool, 0.2, 10_000, 20, at_least=0.95),
            power(pool, 0.5, 1000, 1, at_least=0.99),
            power(pool, 0.5, 10_000, 20, at_least=0.99),
            *speed(),
            pool.submit(memory).result(),
        ]


def false_alarms(pool: ProcessPoolExecutor, rows: int) -> Iterator[Figure]:
    """The share of windows without drift that warn, beside the share that is only remarked."""
    chunks = list(pool.map(partial(null_windows, rows), range(WINDOWS // AT_ONCE)))
    warned, remarked = (np.concatenate(part) for part in zip(*chunks, strict=True))
    for column, features in enumerate(FEATURES):
        yield Figure(
            f"false alarms, n = {rows}, {features} feature(s), {WINDOWS:,} windows",
            float(warned[:, column].mean()),
            "share",
            at_most=0.01,
            against=f"`watch` in {remarked[:, column].mean():.2%}",
        )


def null_windows(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each window warned, and was remarked: [windows, sizes of the feature set].

    Every second reference is as small as the window.
    """
    generator = np.random.default_rng([rows, seed])
    size = (REFERENCE_ROWS, max(FEATURES))
    reference = profile_dataset(generator.normal(size=size if seed % 2 else (rows, size[1])), TABLE)
    verdicts = []
    for _ in range(AT_ONCE):
        table = generator.normal(size=(rows, max(FEATURES)))
        window = profile_dataset(table, TABLE, reference=reference)
        verdicts.append([compare_profiles(first(reference, k), first(window, k)) for k in FEATURES])
    warned = [[drift.status != "healthy" for drift in row] for row in verdicts]
    remarked = [[bool(drift.affected_features) for drift in row] for row in verdicts]
    return np.array(warned), np.array(remarked)


def first(profile: dict[str, Any], features: int) -> dict[str, Any]:
    """The profile of the first features alone."""
    kept = {f"x{number}": profile["features"][f"x{number}"] for number in range(features)}
    return {**profile, "features": kept}


def power(
    pool: ProcessPoolExecutor, shift: float, reference_rows: int, features: int, *, at_least: float
) -> Figure:
    """The share of windows of 1,000 rows in which one shifted feature is found."""
    count = WINDOWS if features == 1 else WINDOWS // 4
    measure = partial(shifted_window, shift, reference_rows, features)
    found = [
        "x0" in drift.affected_features for drift in pool.map(measure, range(count), chunksize=20)
    ]
    return Figure(
        f"found: {shift:g} sigma in 1 of {features}, n = 1,000, reference {reference_rows:,}",
        float(np.mean(found)),
        "share",
        at_least=at_least,
        against=f"{count:,} windows",
    )


def shifted_window(shift: float, reference_rows: int, features: int, seed: int) -> DriftMetrics:
    """Compare a reference with a window whose first feature moved."""
    generator = np.random.default_rng([reference_rows, features, seed])
    table = generator.normal(size=(1000, features))
    table[:, 0] += shift
    reference = profile_dataset(generator.normal(size=(reference_rows, features)), TABLE)
    return compare_profiles(reference, profile_dataset(table, TABLE, reference=reference))


def speed() -> list[Figure]:
    """CPU seconds of two profiles and their comparison, by Evidently's for the same rows."""
    generator = np.random.default_rng(0)
    table = generator.normal(size=(ROWS, COLUMNS))
    whole = cpu_seconds(table)
    each = Figure(f"profile {ROWS:,} rows x {COLUMNS}", whole, "CPU s")
    rows = int(os.environ.get("EVIDENTLY_ROWS", "100000"))
    theirs = evidently_seconds(rows)
    if theirs is None:
        return [each]
    parts = [table[:rows], generator.normal(size=(rows, COLUMNS))]
    begin = time.process_time()
    compare_profiles(*(profile_dataset(part, TABLE) for part in parts))
    ours = time.process_time() - begin
    return [
        each,
        Figure(
            f"Evidently's drift report / ours, {rows:,} rows x {COLUMNS}",
            theirs / ours,
            at_least=10,
            against=f"Evidently {theirs:.1f} CPU s",
        ),
        Figure(
            f"Evidently's report / our profile of {ROWS:,} rows, a row",
            theirs / rows / (whole / ROWS),
            at_least=10,
            against=f"Evidently {1e6 * theirs / rows:.0f} us a row",
        ),
    ]


def cpu_seconds(table: np.ndarray) -> float:
    """The faster of two profiles of a table."""
    seconds = []
    for _ in range(2):
        begin = time.process_time()
        profile_dataset(table, TABLE)
        seconds.append(time.process_time() - begin)
    return min(seconds)


def evidently_seconds(rows: int) -> float | None:
    """CPU seconds of Evidently's report; None where it can't be had."""
    try:
        command = [str(evidently_python()), str(PEER), str(rows), str(COLUMNS)]
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Evidently is left out, its environment can't be used: {error}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def evidently_python() -> Path:
    """The Python that has Evidently; its environment is built where there is none."""
    if given := os.environ.get("EVIDENTLY_PYTHON"):
        return Path(given)
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / ".ready"
    if not ready.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *REQUIREMENTS], check=True, capture_output=True)
        ready.touch()
    return python


def memory() -> Figure:
    """How much more memory ten times the rows take, in a process of its own."""
    generator = np.random.default_rng(0)
    profiler = DatasetProfiler(TABLE)
    peaks = []
    for rows in (100_000, 900_000):
        for _ in range(rows // 50_000):
            profiler.update(generator.normal(size=(50_000, COLUMNS)))
        profiler.result()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return Figure(
        f"memory for {ROWS:,} rows over 100,000",
        peaks[1] - peaks[0],
        "MiB more",
        at_most=16,
        against=f"{peaks[0]:.0f} MiB at 100,000",
    )
