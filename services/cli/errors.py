"""How ``trainctl`` ends when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer

from utils.training.errors import TrainingError


class ExitCode(IntEnum):
    """What a script can tell apart."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    JOB_FAILED = 4
    INTERRUPTED = 130


class UsageError(TrainingError, ValueError):
    """What was typed can't be meant."""


class NotRunningError(TrainingError, ConnectionError):
    """There is nobody to talk to."""


@contextmanager
def told() -> Iterator[None]:
    """End with one sentence on standard error and the exit code that fits."""
    try:
        yield
    except UsageError as error:
        _end(str(error), ExitCode.USAGE)
    except TrainingError as error:
        away = isinstance(error, ConnectionError)
        _end(str(error), ExitCode.UNREACHABLE if away else ExitCode.REFUSED)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        _end(f"{error}.", ExitCode.REFUSED)


def _end(sentence: str, code: ExitCode) -> None:
    sys.stderr.write(f"{sentence}\n")
    raise typer.Exit(code)
