"""Models that are asked and not measured."""

from __future__ import annotations

from collections.abc import Iterator

from services.cli.connection import Connection
from services.cli.doctor.finding import Finding
from utils.service.http import ServiceClient


def examine(connection: Connection) -> list[Finding]:
    """Alerts of the monitor that are on, stale profiles among them."""
    with connection.service("monitor") as monitor:
        return list(_alerts(monitor))


def _alerts(monitor: ServiceClient) -> Iterator[Finding]:
    for alert in monitor.call("GET", "/v1/alerts").json()["items"]:
        yield Finding(
            "error" if alert["severity"] == "critical" else "warning",
            alert["model_name"],
            alert["message"],
            "What is asked of the model is no longer what it was trained on, or nobody can tell.",
            "`trainctl drift` shows the features, `trainctl triggers explain` what follows.",
        )
