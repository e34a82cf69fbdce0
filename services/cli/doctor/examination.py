"""Everything that is looked at, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from services.cli.connection import Connection
from services.cli.doctor import drift, jobs, machine, models, services
from services.cli.doctor.finding import Finding
from utils.service.http import RemoteError, UnreachableError


def examine(connection: Connection, *, deep: bool) -> list[Finding]:
    """What is wrong; what can't be asked because its service is away is told as that service."""
    findings = services.examine(connection)
    away = {finding.subject for finding in findings if finding.severity == "error"}
    looks: dict[str, Callable[[Connection], list[Finding]]] = {
        "scheduler": jobs.examine,
        "registry": partial(models.examine, deep=deep),
        "monitor": drift.examine,
    }
    for kind, look in looks.items():
        if not connection.urls.get(kind) or any(name.startswith(kind) for name in away):
            continue
        try:
            findings += look(connection)
        except (RemoteError, UnreachableError) as error:
            findings.append(_unexamined(kind, str(error)))
    return findings + machine.examine(connection)


def _unexamined(kind: str, reason: str) -> Finding:
    return Finding(
        "error",
        kind,
        f"It refused to be examined: {reason}",
        "What is wrong with it stays unknown.",
        "Look into its log; a token of the role admin may ask everything.",
    )
