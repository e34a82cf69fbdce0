"""What every chapter works with."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from services.cli.demo.drift_log import DriftPoint, windows
from services.cli.demo.jobs import MODEL
from services.cli.demo.platform import Platform
from services.cli.demo.scanners import Digits
from services.cli.demo.stream import DigitStream
from services.cli.demo.timeline import Timeline
from services.cli.demo.verdict import Verdict
from services.cli.demo.waiting import wait_for
from utils.training.model_registry import RegisteredModel


@dataclass(frozen=True)
class Scene:
    """The platform, the digits of both scanners, and where events and claims are noted."""

    platform: Platform
    timeline: Timeline
    verdict: Verdict
    console: Console
    old: Digits
    new: Digits
    stream: DigitStream  # what the client sends

    def production(self) -> RegisteredModel | None:
        """The version that the registry calls production."""
        return self.platform.registry.tagged(MODEL)

    def windows(self, version: str) -> list[DriftPoint]:
        """The monitor's finished windows of a version, oldest first."""
        found = windows(self.platform.monitor, MODEL)
        return [window for window in found if window.version == version]

    def wait_for_windows(self, version: str, status: str, count: int) -> list[DriftPoint]:
        """Wait until the newest windows of a version all have a status, and give all of it."""

        def look() -> list[DriftPoint] | None:
            found = self.windows(version)
            return found if [w.status for w in found[-count:]] == [status] * count else None

        return wait_for(f"{count} {status} windows in a row of version {version}", look)
