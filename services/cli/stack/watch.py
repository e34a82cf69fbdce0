"""One process under watch: what it is doing, and when it is started again."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from services.cli.stack.members import Member
from services.cli.stack.state import Condition, ServiceState, created
from utils.service.embedded.child import ServerError

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 60.0  # up for so long, its earlier deaths are forgotten
_PROBE_SECONDS = 2.0  # between two looks at something that was ready


class Watched:
    """A member and its condition."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.condition: Condition = "waiting"
        self.restarts = 0
        self._pause = _FIRST_PAUSE_SECONDS
        self._since: datetime | None = None
        self._created: float | None = None
        self._started = 0.0
        self._next = 0.0  # when it is looked at, or started, again

    @property
    def state(self) -> ServiceState:
        """What is told of it."""
        member = self.member
        is_gone = self.condition != "waiting" and member.pid is None
        return ServiceState(
            name=member.name,
            kind=member.kind,
            condition="down" if is_gone else self.condition,
            url=member.url,
            pid=member.pid,
            created=self._created,
            since=self._since,
            restarts=self.restarts,
            log=member.log,
        )

    def start(self) -> None:
        """Start it.

        Raises:
            ServerError: a database could not start.
        """
        self.condition = "starting"
        self._started = time.monotonic()
        self._next = 0.0
        self.member.start()
        pid = self.member.pid
        self._created = None if pid is None else created(pid)
        self._since = datetime.now(UTC)

    def look(self) -> None:
        """See how it is; start it again where it died, after a pause that grows."""
        now = time.monotonic()
        if self.member.pid is None and self.condition != "down":
            self.condition = "down"
            self._next = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        elif now < self._next:
            return
        elif self.condition == "down":
            self.restarts += 1
            self._start_again()
        else:
            self._probe(now)

    def _start_again(self) -> None:
        try:
            self.start()
        except (ServerError, OSError):
            self.condition = "starting"  # its log has the reason; the next look finds it dead

    def _probe(self, now: float) -> None:
        if self.member.is_ready():
            self.condition = "ready"
            self._next = now + _PROBE_SECONDS
            if now - self._started > _STEADY_SECONDS:
                self._pause = _FIRST_PAUSE_SECONDS
        elif self.condition == "ready":
            self.condition = "unready"
