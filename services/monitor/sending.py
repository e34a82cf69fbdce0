"""What other services are to be told: sent apart from the reading, until it is accepted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from services.monitor.alerts import Alerts, Finding
from services.monitor.consequences import RollbackOrder
from services.monitor.metrics import MonitorMetrics
from services.monitor.windows.store import MonitorStore, Outbox
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.document import from_json
from utils.service.contracts.jobs import Signal
from utils.service.http import RemoteError, UnreachableError

log = logging.getLogger(__name__)


class Sender:
    """Empties the outboxes; a service that is away finds its messages when it is back."""

    def __init__(
        self,
        store: MonitorStore,
        scheduler: SchedulerClient,
        registry: RegistryClient,
        alerts: Alerts,
        metrics: MonitorMetrics,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._registry = registry
        self._alerts = alerts
        self._metrics = metrics

    def send(self) -> None:
        """Send what waits, each message once more at most."""
        self._empty(self._store.rollbacks, self._roll_back)
        self._empty(self._store.signals, self._signal)

    @staticmethod
    def _empty(outbox: Outbox, send: Callable[[str, str], bool]) -> None:
        for model_name, message in outbox.waiting().items():
            if send(model_name, message):
                outbox.forget(model_name, message)

    def _signal(self, model_name: str, message: str) -> bool:
        try:
            decision = self._scheduler.signal(model_name, Signal.model_validate_json(message))
        except (RemoteError, UnreachableError) as error:
            outcome = _outcome(error)
            self._metrics.signals.labels(outcome).inc()
            if outcome != "no_rule":
                log.warning("The signal of %s was %s: %s", model_name, outcome, error)
            return outcome != "delayed"
        self._metrics.signals.labels("sent").inc()
        log.info("Signal of %s: %s", model_name, decision.explanation)
        return True

    def _roll_back(self, model_name: str, message: str) -> bool:
        order: RollbackOrder = from_json(RollbackOrder, message)
        try:
            outcome = self._carry_out(model_name, order)
        except (RemoteError, UnreachableError) as error:
            if _outcome(error) == "delayed":
                return False
            outcome = "refused"
            log.exception("The rollback of %s was refused.", model_name)
        self._metrics.rollbacks.labels(model_name, outcome).inc()
        if outcome != "outdated":
            self._tell(model_name, order, outcome)
        return True

    def _carry_out(self, model_name: str, order: RollbackOrder) -> str:
        """Roll back, now or before an answer that was lost; not where a newer version took over."""
        try:
            self._registry.rollback(model_name, order.reason, order.model_id)
        except RemoteError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            current = self._registry.tagged(model_name)
            if current is not None and current.model_id == order.model_id:
                raise
            return "outdated"
        return "done"

    def _tell(self, model_name: str, order: RollbackOrder, outcome: str) -> None:
        said = "was rolled back" if outcome == "done" else "could not be rolled back"
        self._alerts.look(
            Finding(
                type="rollback",
                model_name=model_name,
                subject=str(order.model_id),
                severity="critical",
                message=f"{model_name} {said}: {order.reason}",
            )
        )


def _outcome(error: RemoteError | UnreachableError) -> str:
    if not isinstance(error, RemoteError) or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "delayed"
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return "delayed"
    return "no_rule" if error.status == HTTPStatus.NOT_FOUND else "refused"
