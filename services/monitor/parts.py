"""What the monitor is made of, put together once."""

from __future__ import annotations

from collections.abc import Callable

import redis

from services.monitor.alerts import Alerts
from services.monitor.consequences import Consequences
from services.monitor.metrics import MonitorMetrics
from services.monitor.models import Models
from services.monitor.platform import PlatformWatch
from services.monitor.sending import Sender
from services.monitor.settings import MonitorSettings
from services.monitor.stream.reader import Reader
from services.monitor.windows.store import MonitorStore
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import ServiceClient
from utils.service.loops import Loop
from utils.training.notifications import notifiers_from_environment

_REDIS_SECONDS = 5.0
_PATIENCE_SECONDS = 2.0  # with another service, until the loop's next turn


class Parts:
    """The reader, the loops and the connections of one replica; nothing runs before start."""

    def __init__(self, settings: MonitorSettings) -> None:
        self.settings = settings
        self.metrics = MonitorMetrics()
        self._redis = redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
        )
        self._registry = ServiceClient(
            settings.registry_url, settings.token_file, patience_seconds=_PATIENCE_SECONDS
        )
        self._scheduler = SchedulerClient(
            settings.scheduler_url, settings.token_file, patience_seconds=_PATIENCE_SECONDS
        )
        registry = RegistryClient(self._registry)
        self.store = MonitorStore(self._redis)
        self._models = Models(registry)
        notifiers = notifiers_from_environment(
            email=settings.email_alerts, slack=settings.slack_alerts
        )
        self._alerts = Alerts(self.store, self.metrics, notifiers, settings.recover_windows)
        self._consequences = Consequences(settings, self.store, self._models, self._alerts)
        self.reader = Reader(
            self._redis, settings, self.store, self._models, self._consequences, self.metrics
        )
        self.platform = PlatformWatch(self._scheduler, self._alerts, settings.queue_warning_seconds)
        self._sender = Sender(self.store, self._scheduler, registry, self._alerts, self.metrics)
        following = self._loop("registry", self._models.refresh, settings.poll_seconds)
        self._models.wake = following.wake
        self._loops = [
            self._loop("reader", self.reader.step, 0),
            following,
            self._loop("sender", self._send, settings.send_seconds),
            self._loop("platform", self._look, settings.platform_seconds),
        ]

    def start(self) -> None:
        """Start the loops."""
        for loop in self._loops:
            loop.start()

    def begin_stop(self) -> None:
        """Let no wait last longer; called in a signal handler."""
        self.reader.stop()

    def close(self) -> None:
        """Let the calls under way end, hand over, and close the connections."""
        self.begin_stop()
        for loop in self._loops:
            loop.stop()
        self.reader.release()
        self._alerts.close()
        self._registry.close()
        self._scheduler.close()
        self._redis.close()

    def check_redis(self) -> None:
        """Raise where Redis does not answer."""
        self._redis.ping()

    def _send(self) -> None:
        if self.reader.is_active:
            self._sender.send()

    def _look(self) -> None:
        if self.reader.is_active:
            self._consequences.look_for_stale(self.reader.open_windows())
        self.platform.look(tell=self.reader.is_active)

    def _loop(self, name: str, work: Callable[[], object], seconds: float) -> Loop:
        last_success = self.metrics.loop_success.labels(name)
        last_success.set_to_current_time()

        def step() -> None:
            work()
            last_success.set_to_current_time()

        return Loop(name, step, seconds)
