"""Chapter 2: a client sends digits of the scanner that the model knows, and nothing is alarmed."""

from __future__ import annotations

from services.cli.demo.jobs import MODEL
from services.cli.demo.scene import Scene
from utils.training.model_registry import RegisteredModel

_WINDOWS = 3


def serve_calmly(scene: Scene, model: RegisteredModel) -> None:
    """Wait until the monitor has seen enough to judge."""
    scene.console.rule("2. A client sends digits, and the monitor watches")
    scene.timeline.note(
        "a client begins; it sends held-out digits of the scanner that the model knows",
        mark="client starts",
    )
    windows = scene.wait_for_windows(model.version, "healthy", _WINDOWS)
    newest = windows[-1]
    scene.timeline.note(
        f"version {model.version} is healthy: drift {newest.score:.3f} bits over the last "
        f"{newest.rows} digits",
        at=newest.at,
    )
    jobs = scene.platform.scheduler.list_jobs(model_name=MODEL).items
    scene.verdict.claim(
        "before the drift no window was alarming, and nothing was retrained",
        holds=all(window.status == "healthy" for window in windows) and len(jobs) == 1,
    )
