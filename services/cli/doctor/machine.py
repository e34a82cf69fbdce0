"""Disks that are nearly full."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from services.cli.connection import Connection
from services.cli.doctor.finding import Finding

_LEAST_BYTES = 2 * 1000**3
_LEAST_SHARE = 0.05


def examine(connection: Connection) -> list[Finding]:
    """The disk of a stack on this machine; elsewhere, alerts watch it."""
    return [] if connection.stack is None else list(_disk(str(connection.stack)))


def _disk(folder: str) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    if usage.free < _LEAST_BYTES or usage.free / usage.total < _LEAST_SHARE:
        yield Finding(
            "warning" if usage.free > _LEAST_BYTES else "error",
            "disk",
            f"Of {usage.total / 1e9:.0f} GB under {folder}, {usage.free / 1e9:.1f} GB are free.",
            "Databases stop and trainings fail where nothing can be written any more.",
            "Make room: old job logs and artifacts of retired versions are the largest.",
        )
