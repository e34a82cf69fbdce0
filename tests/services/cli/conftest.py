"""One stack for all tests of the command line, and ways to call it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from typer.testing import CliRunner

from services.cli.main import app
from services.cli.stack.options import StackOptions
from services.cli.stack.stack import Stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory):
    """A whole platform in a folder whose path has a space."""
    with Stack(tmp_path_factory.mktemp("a stack") / "with space", StackOptions()) as stack:
        yield stack


def call(*words, folder=None, given=None):
    """Run a command in this process; ``json`` reads what it printed."""
    environment = {"TRAINCTL_FOLDER": str(folder) if folder else None, "COLUMNS": "200"}
    result = CliRunner().invoke(app, [str(w) for w in words], input=given, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return SimpleNamespace(
        code=result.exit_code,
        out=result.stdout,
        err=result.stderr,
        json=lambda: json.loads(result.stdout),
        lines=lambda: [json.loads(line) for line in result.stdout.splitlines()],
    )


@pytest.fixture
def trainctl(stack):
    """Call a command on the shared stack; it must succeed unless ``code`` says otherwise."""

    def run(*words, code=0, given=None):
        result = call(*words, folder=stack.folder, given=given)
        assert result.code == code, (result.out, result.err)
        return result

    return run


@pytest.fixture(scope="package")
def trained(stack):
    """A job that has trained and promoted a version of the digits."""
    words = ("submit", "--sample", "digits", "--epochs", "20", "--reason", "to test", "--watch")
    result = call(*words, folder=stack.folder)
    assert result.code == 0, (result.out, result.err)
    # A call that had to come again leaves a gap in the numbers.
    (number,) = re.findall(r"^Job (\d+) ", result.out, re.MULTILINE)
    return SimpleNamespace(job_id=int(number), watched=result.out)


@pytest.fixture(scope="package")
def weaker(stack, trained):
    """The number of a second version of the digits, which the gate held back."""
    words = ("submit", "--sample", "digits", "--epochs", "1", "--wait", "--json")
    result = call(*words, folder=stack.folder).json()["result"]
    assert not result["promoted"]
    return result["model_id"]


def start_trainctl(*words, folder, cwd=None):
    """A process of its own that runs a command."""
    environment = os.environ | {"TRAINCTL_FOLDER": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *words],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def is_alive(process):
    """Does a process still run?"""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
