"""One platform for all attacks, and the table of what was tried."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from services.cli.stack.options import StackOptions
from services.cli.stack.stack import Stack
from tests.security.platform import Platform, job_config

_TRIED = "tried"


@pytest.fixture(scope="package")
def platform(tmp_path_factory):
    """A whole platform: databases, services and a trainer, each a process."""
    with Stack(tmp_path_factory.mktemp("security") / "stack", StackOptions()) as stack:
        platform = Platform(stack)
        yield platform
        platform.close()


@pytest.fixture(scope="package")
def served(platform):
    """The platform with a version of the digits that it trained, promoted and serves."""
    scheduler = platform.scheduler["submitter"]
    job = scheduler.submit("training", job_config())
    path = "/v2/models/digits/ready"
    deadline = time.monotonic() + 180
    while (
        not scheduler.get_job(job.job_id).is_finished
        or platform.send("serving", "GET", path, "reader").status_code != 200
    ):
        assert time.monotonic() < deadline, "the digits are not served"
        time.sleep(0.2)
    return platform


@pytest.fixture
def tried(record_property):
    """Count what was tried: its kind and how often, for the table at the end."""

    def count(kind, what, number=1):
        record_property(_TRIED, (kind, what, number))

    return count


def pytest_collection_modifyitems(items):
    """All that stands beside this file belongs to ``make security``."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("security")


def pytest_terminal_summary(terminalreporter):
    """Print how much was tried, by kind."""
    counts = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == _TRIED and report.when == "call":
                kind, what, number = value
                counts[kind, what] += number
    if not counts:
        return
    terminalreporter.section("what was tried, and refused")
    width = max(len(what) for _, what in counts)
    before = None
    for (kind, what), number in sorted(counts.items()):
        if kind != before:
            terminalreporter.write_line(f"{kind}:")
            before = kind
        terminalreporter.write_line(f"  {what:<{width}}  {number:>6}")
