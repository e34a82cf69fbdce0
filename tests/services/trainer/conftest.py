"""The services of a training, shared by the tests of this folder."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.services.trainer.platform import SLOW, Platform, digits_job
from utils.service.embedded.valkey import ValkeyServer


@pytest.fixture(scope="package")
def platform(tmp_path_factory, postgres, migrated_postgres):
    folder = tmp_path_factory.mktemp("platform")
    with ValkeyServer(folder / "valkey") as valkey:
        url = postgres.create_database("trainer", template=migrated_postgres)
        platform = Platform(folder, url, valkey.url())
        yield platform
        platform.close()


@pytest.fixture
def trainer(platform):
    """At least one trainer at work."""
    return platform.start_trainers("trainer-1")


@pytest.fixture
def two_trainers(platform):
    """Two trainers at work, each on a machine of its own as far as files go."""
    return platform.start_trainers("trainer-1", "trainer-2")


@pytest.fixture(scope="package")
def undisturbed(platform):
    """A finished job that nothing happened to, and a look at it while it ran."""
    platform.start_trainers("trainer-1")
    config = digits_job("undisturbed", model={"entry_point": SLOW})
    job = platform.scheduler.submit("training", config)
    running = platform.wait_for(job, lambda found: (found.progress or {}).get("gradient_norm"))
    return SimpleNamespace(running=running, job=platform.end_of(job))


@pytest.fixture(scope="session")
def make_job():
    return digits_job
