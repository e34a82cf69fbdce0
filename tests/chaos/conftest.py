"""A platform whose every part may be killed, and a watch for how long it takes to recover."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager

import pytest

from tests.services.trainer.platform import SLOW, Platform, digits_job
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer
from utils.training.database import open_database


@pytest.fixture
def recovery(record_property):
    """Measures from a fault to where all is well again; each use is a row's one try more."""

    @contextmanager
    def measure(tried=1):
        record_property("tried", tried)
        started = time.monotonic()
        yield
        record_property("seconds", time.monotonic() - started)

    return measure


class WholePlatform(Platform):
    """The platform with databases of its own."""

    lease_seconds = 3

    def __init__(self, folder):
        self.postgres = PostgresServer(folder / "postgres").start()
        self.valkey = ValkeyServer(folder / "valkey").start()
        self.database_url = self.postgres.create_database("training")
        open_database(self.database_url).dispose()
        super().__init__(folder, self.database_url, self.valkey.url())

    def empty_redis(self):
        """Kill Redis, lose all that it kept, and start it at its address."""
        self.valkey.kill()
        for data in self.valkey.folder.iterdir():
            if data.is_dir():
                shutil.rmtree(data)
        self.valkey.start()

    def close(self):
        super().close()
        self.valkey.stop()
        self.postgres.stop()


@pytest.fixture(scope="package")
def platform(tmp_path_factory):
    platform = WholePlatform(tmp_path_factory.mktemp("chaos"))
    yield platform
    platform.close()


@pytest.fixture
def own_platform(tmp_path):
    """One for a test that leaves nothing of it."""
    platform = WholePlatform(tmp_path)
    yield platform
    platform.close()


@pytest.fixture
def trainers(platform):
    """Two trainers at work."""
    return platform.start_trainers("trainer-1", "trainer-2")


@pytest.fixture(scope="package")
def undisturbed(platform):
    """The digest of the bundle that a training ends with where nothing happens to it."""
    platform.start_trainers("trainer-1")
    job = platform.scheduler.submit("training", slow_job("undisturbed"))
    done = platform.end_of(job)
    assert done.status == "completed", done.error
    return done.result["bundle_digest"]


def slow_job(name, **changes):
    """A training that lasts long enough to be hit."""
    return digits_job(name, model={"entry_point": SLOW}, **changes)
