"""The platform watched through the scheduler's own API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.monitor.alerts import PLATFORM, Alerts, Finding
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.drift import PlatformState

_RECENT = timedelta(hours=1)
_MOST_FAILED = 50


class PlatformWatch:
    """Looks at queues, leases and failures; ``state`` is what was seen last."""

    def __init__(
        self,
        scheduler: SchedulerClient,
        alerts: Alerts,
        queue_warning_seconds: float,
    ) -> None:
        self._scheduler = scheduler
        self._alerts = alerts
        self._queue_warning_seconds = queue_warning_seconds
        self.state = PlatformState()

    def look(self, *, tell: bool) -> None:
        """Look once; alerts are for the active replica to ``tell``."""
        now = datetime.now(UTC)
        failed = self._scheduler.list_jobs(status="failed", limit=_MOST_FAILED).items
        self.state = PlatformState(
            seen_at=now,
            queues=tuple(self._scheduler.queues()),
            failed_recently=sum(
                job.finished_at is not None and now - job.finished_at < _RECENT for job in failed
            ),
        )
        if tell:
            self._tell()

    def _tell(self) -> None:
        for queue in self.state.queues:
            waits = queue.oldest_seconds > self._queue_warning_seconds
            self._alerts.look(
                Finding(
                    type="queue_waits",
                    model_name=PLATFORM,
                    subject=queue.queue,
                    severity="warning" if waits else None,
                    message=(
                        f"The oldest ready job of the queue {queue.queue} has been waiting for "
                        f"{queue.oldest_seconds:.0f} s."
                    ),
                    value=queue.oldest_seconds,
                    threshold=self._queue_warning_seconds,
                )
            )
