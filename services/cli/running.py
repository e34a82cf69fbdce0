"""A stack that is kept up: in this terminal, or in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
import typer

from services.cli.errors import ExitCode, NotRunningError, UsageError
from services.cli.options import command_for
from services.cli.output import print_json, say
from services.cli.stack.errors import StackError
from services.cli.stack.options import StackOptions
from services.cli.stack.stack import Stack
from services.cli.stack.state import StackState, find, read_state
from services.cli.stack_view import show_changes, show_table
from utils.service.contracts.jobs import ENTRY_POINT, FORMS

_LOOK_SECONDS = 0.2
_STOP_SECONDS = 150.0  # four steps of the stop, with a reserve
_LAST_LINES = 25


def run(folder: Path, options: StackOptions, *, as_json: bool) -> None:
    """Start a stack and show it until it is told to stop.

    Raises:
        StackError: a RuntimeError; it did not come up.
        typer.Exit: with code 130, after a Ctrl-C.
    """
    stack = Stack(folder, options)
    stack.begin()
    with _signals_heard(stack) as heard:
        try:
            if sys.stdout.isatty() and not as_json:
                show_table(stack)
            else:
                show_changes(stack, as_json=as_json)
        finally:
            stack.stop()
    stack.raise_failure()
    if signal.SIGINT in heard:
        raise typer.Exit(ExitCode.INTERRUPTED)


def run_detached(folder: Path, arguments: list[str], *, as_json: bool) -> None:
    """Start a process that keeps a stack up, and return when all is ready.

    Raises:
        StackError: a RuntimeError; it did not come up, or one runs there already.
    """
    state = read_state(folder)
    if state is not None and state.is_running:
        raise StackError(
            f"A stack runs in {folder} already, process {state.pid}; "
            f"`{command_for(folder, 'status')}` shows it, `{command_for(folder, 'down')}` stops it."
        )
    logs = folder / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.mkdir(exist_ok=True)
    path = logs / "supervisor.log"
    command = [sys.executable, "-m", "services.cli", "up", *arguments, "--no-detach"]
    with path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--folder", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        state = _wait_until_ready(folder, process, path)
    except BaseException:
        process.terminate()
        raise
    if as_json:
        print_json(state)
    else:
        stopping = command_for(folder, "down")
        say(f"The platform is ready in {folder}, process {state.pid}; `{stopping}` stops it.")


def stop(folder: Path, *, kill: bool, as_json: bool) -> None:
    """Stop the stack in a folder, wherever it was started.

    Raises:
        StackError: a RuntimeError; it did not stop in time.
    """
    state = read_state(folder)
    process = None if state is None else find(state.pid, state.created)
    if process is not None:
        process.send_signal(signal.SIGTERM)
        if kill:
            time.sleep(_LOOK_SECONDS)
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired as error:
            raise StackError(
                f"The stack in {folder} did not stop within {_STOP_SECONDS:g} s; "
                f"`{command_for(folder, 'down --kill')}` does not wait."
            ) from error
    stopped = process is not None
    if as_json:
        print_json({"folder": folder, "stopped": stopped})
    else:
        say(f"The platform in {folder} is stopped." if stopped else f"Nothing runs in {folder}.")


def running_state(folder: Path) -> StackState:
    """The state of the stack in a folder.

    Raises:
        NotRunningError: a ConnectionError; nothing runs there.
    """
    state = read_state(folder)
    starting = command_for(folder, "up")
    if state is None:
        raise NotRunningError(f"No stack runs in {folder}; `{starting}` starts one.")
    if not state.is_running:
        raise NotRunningError(
            f"The stack in {folder} was killed (process {state.pid}); `{starting}` starts it "
            "again, with all of its models, jobs and data."
        )
    return state


def checked_entry_points(typed: Sequence[str]) -> tuple[str, ...]:
    """What jobs may name beside the samples.

    Raises:
        UsageError: a ValueError; one is no entry point.
    """
    for one in typed:
        if not re.fullmatch(ENTRY_POINT, one):
            raise UsageError(f"The entry point is {one!r}, allowed is {FORMS[ENTRY_POINT]}.")
    return tuple(typed)


def arguments_of_this_process() -> list[str]:
    """What was typed behind ``up``, without what concerns this process alone."""
    own = {"--detach", "--json"}
    return [word for word in sys.argv[sys.argv.index("up") + 1 :] if word not in own]


def _wait_until_ready(folder: Path, process: subprocess.Popen[bytes], log: Path) -> StackState:
    while True:
        state = read_state(folder)
        if state is not None and state.pid == process.pid and state.is_ready:
            return state
        if process.poll() is not None:
            lines = log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
            raise StackError("\n".join(lines) or f"It ended at once; see {log}.")
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _signals_heard(stack: Stack) -> Iterator[list[int]]:
    """Let the signals that end a program stop the stack; a second one kills it."""
    heard: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        heard.append(number)
        stack.ask_to_stop()

    former = {
        number: signal.signal(number, hear)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield heard
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
