"""To whom ``trainctl`` speaks: the stack in a folder, or services elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.cli.errors import NotRunningError, UsageError
from services.cli.options import DEFAULT_FOLDER
from utils.service.auth import Role
from utils.service.clients.monitor import MonitorClient
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import ServiceClient

_PATIENCE_SECONDS = 3.0  # somebody is waiting at a terminal
_PROBE_SECONDS = (2.0, 10.0)  # of a first look, and of a second where none was ready
_TOKEN_FILE = "TRAINING_TOKEN_FILE"  # noqa: S105 - the name of a variable
SERVICES = ("registry", "scheduler", "serving", "monitor")


@dataclass(frozen=True)
class Connection:
    """Addresses and tokens; ``stack`` is the folder of a stack on this machine, if it is one."""

    urls: Mapping[str, list[str]]
    token_files: Mapping[Role, Path]
    stack: Path | None

    @contextmanager
    def scheduler(
        self, role: Role = "submitter", patience_seconds: float = _PATIENCE_SECONDS
    ) -> Iterator[SchedulerClient]:
        """The scheduler, or the first of its replicas that is ready."""
        client = SchedulerClient(
            self.url("scheduler"), self.token_files.get(role), patience_seconds=patience_seconds
        )
        with closing(client):
            yield client

    @contextmanager
    def registry(self, role: Role = "reader") -> Iterator[RegistryClient]:
        """The registry."""
        with self.service("registry", role) as service:
            yield RegistryClient(service)

    @contextmanager
    def monitor(self) -> Iterator[MonitorClient]:
        """The monitor."""
        client = MonitorClient(
            self.url("monitor"), self.token_files.get("reader"), patience_seconds=_PATIENCE_SECONDS
        )
        with closing(client):
            yield client

    @contextmanager
    def service(self, kind: str, role: Role = "reader") -> Iterator[ServiceClient]:
        """Any service, such as serving."""
        client = ServiceClient(
            self.url(kind), self.token_files.get(role), patience_seconds=_PATIENCE_SECONDS
        )
        with closing(client):
            yield client

    def url(self, kind: str) -> str:
        """The address of a service; of replicas, the first that is ready.

        Raises:
            NotRunningError: a ConnectionError; no address is known.
        """
        urls = self.urls.get(kind, [])
        if not urls and self.stack is not None:
            raise NotRunningError(f"The stack in {self.stack} has no {kind}.")
        if not urls:
            raise NotRunningError(
                f"No address of the {kind} is known; set TRAINING_{kind.upper()}_URL."
            )
        if len(urls) > 1:
            probes = ((url, seconds) for seconds in _PROBE_SECONDS for url in urls)
            return next((url for url, seconds in probes if _is_ready(url, seconds)), urls[0])
        return urls[0]


def connect(folder: Path | None) -> Connection:
    """Find the platform: a named folder, else what the environment says, else ``var/stack``.

    Raises:
        NotRunningError: a ConnectionError; no stack runs there.
        UsageError: a ValueError; a variable of the environment can't be meant.
    """
    remote = {kind: [url] for kind in SERVICES if (url := _given_url(kind))}
    if folder is None and remote:
        return Connection(remote, _given_token(), None)
    from services.cli.stack.state import read_state

    place = (folder or DEFAULT_FOLDER).absolute()
    state = read_state(place)
    if state is None or not state.is_running:
        raise NotRunningError(
            f"No stack runs in {place}; start one with `trainctl up`, name another with --folder, "
            "or set TRAINING_SCHEDULER_URL and its like."
        )
    return Connection(state.urls, state.token_files, place)  # type: ignore[arg-type]


def _given_url(kind: str) -> str | None:
    variable = f"TRAINING_{kind.upper()}_URL"
    url = os.environ.get(variable)
    if url and not re.match(r"https?://[^/\s]+", url):
        raise UsageError(
            f"{variable} is {url!r}; give an address that begins with http:// or https://."
        )
    return url


def _given_token() -> dict[Role, Path]:
    from services.cli.stack.credentials import ROLES

    file = os.environ.get(_TOKEN_FILE)
    if file is None:
        return {}
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{_TOKEN_FILE} names {file!r}, which can't be read: {error}.") from error
    if not re.fullmatch(r"[!-~]+", token):
        raise UsageError(f"{_TOKEN_FILE} names {file!r}, which holds no token; put one line there.")
    return dict.fromkeys(ROLES, Path(file))


def _is_ready(url: str, seconds: float) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=seconds, trust_env=False).is_success
    except httpx.TransportError:
        return False
