"""What every test stands on: one thread, no network, a fresh working folder, real databases."""

from __future__ import annotations

import os
import shutil
import signal
import uuid

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("MPLBACKEND", "Agg")

import psycopg
import pytest
import torch
from hypothesis import HealthCheck, settings

from utils.service.embedded.postgres import PostgresServer
from utils.training.database import open_database

torch.set_num_threads(1)

# A run in a shell's background has Ctrl-C ignored, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run, and no look at the clock: a busy machine fails no property.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """Relative paths (checkpoints, exports, databases) land in the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A Postgres server for the session (for each process of a parallel session)."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres):
    """The name of a database on that server whose tables are there and empty."""
    open_database(postgres.create_database("migrated")).dispose()
    return "migrated"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    """A SQLite file whose tables are there and empty."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    open_database(path).dispose()
    return path


@pytest.fixture
def postgres_url(postgres, migrated_postgres):
    """The URL of the test's own Postgres database, with empty tables."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres.create_database(name, template=migrated_postgres)
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path, migrated_sqlite):
    """The URL of the test's own SQLite database, with empty tables."""
    path = tmp_path / "store.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """The URL of the test's own database, with empty tables: a test runs on SQLite and Postgres."""
    return request.getfixturevalue(f"{request.param}_url")
