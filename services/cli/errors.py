"""How ``trainctl`` ends when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer

from services.cli.output import flowing
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
    except BrokenPipeError:
        raise
    except OSError as error:
        _end(os_sentence(error), ExitCode.REFUSED)


def os_sentence(error: OSError) -> str:
    """What the system refused, and of which file."""
    reason = error.strerror or str(error)
    return f"{reason}." if error.filename is None else f"{error.filename}: {reason}."


def _end(sentence: str, code: ExitCode) -> None:
    sys.stderr.write(f"{flowing(sentence, sys.stderr)}\n")
    raise typer.Exit(code)
