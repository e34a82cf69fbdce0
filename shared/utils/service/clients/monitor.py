"""The monitor, as its callers see it."""

from __future__ import annotations

from typing import Any

from utils.service.contracts.document import PageOf, from_json
from utils.service.contracts.drift import (
    DriftWindow,
    Feedback,
    ModelDrift,
    MonitorAlert,
    PlatformState,
)
from utils.service.http import ServiceClient


class MonitorClient(ServiceClient):
    """The monitor's API, call by call.

    Every call raises RemoteError (the monitor refused) or UnreachableError (no answer in time).
    """

    def drift(self) -> list[ModelDrift]:
        """Every version that was seen, by its last window."""
        return self._items(ModelDrift, "/v1/drift")

    def windows(self, model_name: str, limit: int = 50) -> list[DriftWindow]:
        """A model's finished windows, newest first."""
        return self._items(DriftWindow, f"/v1/drift/{model_name}", limit=limit)

    def alerts(self) -> list[MonitorAlert]:
        """The alerts that are on."""
        return self._items(MonitorAlert, "/v1/alerts")

    def platform(self) -> PlatformState:
        """The queues as they were seen last."""
        state: PlatformState = from_json(PlatformState, self.call("GET", "/v1/platform").content)
        return state

    def feedback(self, model_name: str, feedback: Feedback) -> None:
        """Say how good predictions were; it is kept when this returns."""
        self.call("POST", f"/v1/feedback/{model_name}", body=feedback.model_dump(mode="json"))

    def _items(self, kind: Any, path: str, **params: Any) -> list[Any]:
        answer = self.call("GET", path, params=params)
        return list(from_json(PageOf[kind], answer.content).items)
