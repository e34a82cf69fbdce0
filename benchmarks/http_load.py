"""Calls over kept-alive HTTP from a few clients at once, and what they cost the other side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, NamedTuple

import urllib3

from benchmarks.processes import Served
from benchmarks.usage import cpu_seconds
from utils.service.embedded.postgres import PostgresServer

CLIENTS = 4

Call = Callable[[int], tuple[str, str, Any]]  # a call's number -> its method, path and body


class Cost(NamedTuple):
    """CPU milliseconds of a call."""

    server: float
    database: float

    @property
    def total(self) -> float:
        return self.server + self.database


class Target:
    """A server, and the Postgres behind it."""

    def __init__(
        self, served: Served, postgres: PostgresServer, headers: Mapping[str, str]
    ) -> None:
        assert postgres.pid is not None
        self.server = served.pid
        self._url = served.url
        self._database = postgres.pid
        sent = {"Content-Type": "application/json", **headers}
        self._pool = urllib3.PoolManager(maxsize=CLIENTS, retries=False, headers=sent)
        self._numbers = count()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Call once, and give what the JSON of the answer says."""
        given = {} if body is None else {"body": json.dumps(body)}
        answer = self._pool.request(method, self._url + path, **given)
        assert answer.status < 300, (path, answer.status, answer.data[:500])
        return answer.json() if answer.data else None

    def cost(self, call: Call, times: int) -> Cost:
        """Call so many times, and see what it took."""
        before = self._busy()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda _: self.ask(*call(next(self._numbers))), range(times)))
        used = zip(before, self._busy(), strict=True)
        return Cost(*(1000 * (end - start) / times for start, end in used))

    def _busy(self) -> tuple[float, float]:
        return cpu_seconds(self.server), cpu_seconds(self._database)
