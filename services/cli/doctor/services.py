"""Services that are down, unready or restarting, and clocks that differ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from services.cli.connection import Connection
from services.cli.doctor.finding import Finding
from services.cli.stack.state import ServiceState, read_state

_PROBE_SECONDS = 5.0
_MOST_SKEW_SECONDS = 5.0  # a lease has 15, and a Date header whole seconds
_MANY_RESTARTS = 3


def examine(connection: Connection) -> list[Finding]:
    """What is wrong with the processes."""
    found = [finding for kind, url in _addresses(connection) for finding in _ask(kind, url)]
    state = None if connection.stack is None else read_state(connection.stack)
    for service in () if state is None else state.services:
        found += _of_process(service)
    return found


def _addresses(connection: Connection) -> Iterator[tuple[str, str]]:
    for kind, urls in connection.urls.items():
        if kind == "prometheus":
            continue
        for number, url in enumerate(urls, start=1):
            yield (f"{kind}-{number}" if len(urls) > 1 else kind), url


def _ask(name: str, url: str) -> Iterator[Finding]:
    asked = time.time()
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_PROBE_SECONDS, trust_env=False)
        checks = dict(answer.json()["checks"])
    except (httpx.TransportError, ValueError, KeyError) as error:
        yield Finding(
            "error",
            name,
            f"It does not answer at {url}: {error}.",
            "Whatever it does for the platform stands still.",
            "`trainctl status` shows its process, its log says more; start it again.",
        )
        return
    wrong = ", ".join(f"{check} ({said})" for check, said in checks.items() if said != "ok")
    if wrong:
        yield Finding(
            "warning" if answer.is_success else "error",
            name,
            f"Of what it depends on, this fails: {wrong}.",
            "It works with less than it should, or not at all.",
            "Look after what it names; the service recovers by itself.",
        )
    yield from _skew(name, answer, asked)


def _skew(name: str, answer: httpx.Response, asked: float) -> Iterator[Finding]:
    if "Date" not in answer.headers:
        return
    theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    skew = max(asked - theirs - 1, theirs - time.time(), 0)
    if skew > _MOST_SKEW_SECONDS:
        yield Finding(
            "warning",
            name,
            f"Its clock and this machine's differ by {skew:.0f} s.",
            "Leases, schedules and windows of drift are told by the clock.",
            "Let both machines synchronise their time (NTP).",
        )


def _of_process(service: ServiceState) -> Iterator[Finding]:
    if service.url is None and service.condition != "ready":
        yield Finding(
            "error",
            service.name,
            f"It is {service.condition}.",
            "Jobs wait for trainers, and everything for the databases.",
            f"It is started again by itself; if it stays so, {service.log} says why.",
        )
    if service.restarts >= _MANY_RESTARTS:
        yield Finding(
            "warning",
            service.name,
            f"It was restarted {service.restarts} times.",
            "Something ends it again and again, and what it did is done anew each time.",
            f"{service.log} says how it ended.",
        )
