"""What the monitor is alarmed at: drift, profiles that are stale or missing, queues that wait."""

from __future__ import annotations

from services.cli.connection import Connection
from services.cli.doctor.finding import Finding, Severity
from utils.service.contracts.drift import MonitorAlert

_PLATFORM = "platform"


def examine(connection: Connection) -> list[Finding]:
    """The monitor's alerts that are on."""
    with connection.monitor() as monitor:
        return [_finding(alert) for alert in monitor.alerts()]


def _finding(alert: MonitorAlert) -> Finding:
    severity: Severity = "error" if alert.severity == "critical" else "warning"
    if alert.model_name == _PLATFORM:
        return Finding(
            severity,
            _PLATFORM,
            alert.message,
            "Jobs wait, fail or stand still, and models grow old meanwhile.",
            "`trainctl jobs` shows them, and `trainctl status` whether trainers are there.",
        )
    return Finding(
        severity,
        alert.model_name,
        alert.message,
        "What the model is asked is not what it was trained on, or nobody can tell.",
        f"`trainctl drift {alert.model_name}` shows what moved, and "
        f"`trainctl triggers explain {alert.model_name}` whether it is trained again.",
    )
