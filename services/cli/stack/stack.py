"""The stack: one object that starts everything, keeps it running, and stops it."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from services.cli.options import command_for
from services.cli.stack import leftovers
from services.cli.stack.errors import StackError
from services.cli.stack.members import Member
from services.cli.stack.options import StackOptions
from services.cli.stack.plan import Plan
from services.cli.stack.state import FILE, ServiceState, StackState, read_state
from services.cli.stack.watch import Watched
from utils.service.embedded.child import ServerError

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 30.0  # for each step of the stop; a trainer has 20 of its own
_LAST_LINES = 15


class Stack:
    """A platform on this machine, whose everything lies in one folder.

    A folder that is there is used again: models, jobs and data survive a stop, and a kill -9. The
    processes belong to a thread of this one, and the kernel ends them when it ends.

    ``with Stack(folder) as stack`` gives it when all services are ready.
    """

    def __init__(self, folder: Path, options: StackOptions | None = None) -> None:
        self.folder = folder.absolute()
        self.options = options or StackOptions()
        self._steps: list[list[Watched]] = []
        self._plan: Plan | None = None
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._killing = threading.Event()
        self._failure: BaseException | None = None
        self._lock: IO[str] | None = None
        self._thread = threading.Thread(target=self._live, name="stack")
        self._told: StackState | None = None
        self._process = psutil.Process()

    @property
    def urls(self) -> dict[str, list[str]]:
        """The addresses of each kind of service, such as ``urls["scheduler"][0]``."""
        return self.state.urls

    @property
    def token_files(self) -> dict[str, Path]:
        """Files with a token of each role: reader, submitter, trainer, admin."""
        return self.state.token_files

    @property
    def data_folder(self) -> Path:
        """What jobs may read files from."""
        return self.state.data_folder

    @property
    def state(self) -> StackState:
        """What is told to other processes, as of now."""
        assert self._plan is not None
        return StackState(
            folder=self.folder,
            pid=self._process.pid,
            created=self._process.create_time(),
            is_ready=self._ready.is_set(),
            services=tuple(watched.state for step in self._steps for watched in step),
            token_files=self._plan.credentials.token_files,
            data_folder=self._plan.data_folder,
        )

    def service(self, name: str) -> ServiceState:
        """One service, such as ``trainer-1``; KeyError where there is none."""
        return {service.name: service for service in self.state.services}[name]

    def start(self) -> Self:
        """Start everything, and return when it is ready.

        Raises:
            StackError: a RuntimeError; one runs in this folder, or a service did not come up.
        """
        self.begin()
        try:
            while not self._ready.wait(_LOOK_SECONDS) and self._thread.is_alive():
                continue
        except BaseException:
            self.stop()
            raise
        self.raise_failure()
        return self

    def begin(self) -> None:
        """Start everything, and don't wait."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(self.folder)
        leftovers.end(self.folder)
        self._plan = Plan(self.folder, self.options)
        self._steps = []
        self._thread.start()

    def raise_failure(self) -> None:
        """Raise what ended the stack, if it did not end as it was told to."""
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    @property
    def is_ready(self) -> bool:
        """True once all services have been ready at the same time."""
        return self._ready.is_set()

    @property
    def is_running(self) -> bool:
        """True until everything has ended."""
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Begin to stop, in order; trainers give their jobs back. A second call kills."""
        if self._stopping.is_set():
            self._killing.set()
        self._stopping.set()

    def stop(self) -> None:
        """Stop everything in order, and wait for it."""
        self._stopping.set()
        while self._thread.is_alive():
            self._thread.join(_LOOK_SECONDS)  # in pieces, so that a signal is heard

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _live(self) -> None:
        """Everything is started from this thread, whose end the kernel tells the processes."""
        try:
            self._start_all()
            while not self._stopping.wait(_LOOK_SECONDS):
                self._look()
        except _StoppedError:
            pass
        except (ServerError, StackError, OSError) as error:
            self._failure = error if isinstance(error, StackError) else StackError(str(error))
        finally:
            self._stop_all()
            (self.folder / FILE).unlink(missing_ok=True)
            assert self._lock is not None
            self._lock.close()

    def _start_all(self) -> None:
        assert self._plan is not None
        plan = self._plan
        self._start_step(plan.databases())
        plan.migrate()
        self._start_step(plan.services())
        self._start_step(plan.workers())
        self._ready.set()
        self._tell()

    def _start_step(self, members: Sequence[Member]) -> None:
        step = [Watched(member) for member in members]
        self._steps.append(step)
        for watched in step:
            try:
                watched.start()
            except (ServerError, OSError) as error:
                raise _failed(watched.member, str(error).splitlines()[0]) from error
            self._tell()
        deadline = time.monotonic() + self.options.start_seconds
        while any(watched.condition != "ready" for watched in step):
            if self._stopping.wait(_LOOK_SECONDS):
                raise _StoppedError
            self._look()
            _check(step, is_late=time.monotonic() > deadline)

    def _look(self) -> None:
        for step in self._steps:
            for watched in step:
                watched.look()
        self._tell()

    def _tell(self) -> None:
        state = self.state
        if state != self._told:
            state.write()
            self._told = state

    def _stop_all(self) -> None:
        """The last that was started ends first; what is in one step ends together."""
        for step in reversed(self._steps):
            members = [watched.member for watched in step]
            for member in members:
                member.end()
            deadline = time.monotonic() + _GRACE_SECONDS
            while any(member.pid is not None for member in members):
                if self._killing.is_set() or time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_SECONDS / 2)
            for member in members:
                member.kill()


class _StoppedError(Exception):
    """It was told to stop while it started."""


def _check(step: Sequence[Watched], *, is_late: bool) -> None:
    for watched in step:
        if watched.condition == "down":
            raise _failed(watched.member, f"{watched.member.name} ended while starting.")
        if is_late and watched.condition != "ready":
            raise _failed(watched.member, f"{watched.member.name} was not ready in time.")


def _failed(member: Member, what: str) -> StackError:
    lines = member.log.read_text("utf-8", "replace").splitlines() if member.log.exists() else []
    return StackError("\n".join([what, *lines[-_LAST_LINES:], f"All of its log: {member.log}"]))


def _lock(folder: Path) -> IO[str]:
    file = (folder / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        state = read_state(folder)
        whose = f", process {state.pid}" if state else ""
        raise StackError(
            f"A stack runs in {folder} already{whose}; `{command_for(folder, 'status')}` shows it, "
            f"`{command_for(folder, 'down')}` stops it, and --folder names another one."
        ) from error
    return file
