"""The script of `helm test`, against the platform as it runs on one machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from services.cli.stack.stack import Stack
from tests.charts.smoke import smoke

pytestmark = pytest.mark.slow  # a whole platform, which `make demo` starts too


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def _run(stack, **changes):
    urls = {f"{kind.upper()}_URL": urls[0] for kind, urls in stack.urls.items()}
    values = {
        key: urls[key]
        for key in ("SCHEDULER_URL", "REGISTRY_URL", "SERVING_URL", "MONITOR_URL")
        if key in urls
    }
    values |= {"TOKEN_FILE": stack.token_files["submitter"], "TIMEOUT_SECONDS": 250} | changes
    environ = {f"{smoke.PREFIX}_{key}": str(value) for key, value in values.items()}
    return subprocess.run(
        [sys.executable, smoke.__file__],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_smoke_test_goes_round_the_loop(stack):
    _goes_round(stack)


def test_the_smoke_test_can_be_run_again_whether_the_next_version_is_better_or_not(stack):
    for _ in range(2):
        _goes_round(stack)


def _goes_round(stack):
    done = _run(stack)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "Serving answers with version" in done.stdout
    assert done.stdout.endswith("The loop works.\n")


def test_the_smoke_test_fails_where_nobody_trains_in_time(stack):
    done = _run(stack, TIMEOUT_SECONDS=0)
    assert done.returncode == 1
    assert "Waited in vain for job" in done.stderr
