"""Chapter 3: half of the digits come from another scanner, and the platform notices."""

from __future__ import annotations

from services.cli.demo.jobs import MODEL, label_new_scans
from services.cli.demo.scanners import NEW_SCANNER
from services.cli.demo.scene import Scene
from services.cli.demo.waiting import wait_for
from utils.training.job_queue import Job
from utils.training.model_registry import RegisteredModel

_SHARE_NEW = 0.5


def drift_and_be_noticed(scene: Scene, model: RegisteredModel) -> Job:
    """Change what is sent, and give the job that the trigger submits for it."""
    scene.console.rule("3. The digits drift")
    label_new_scans(scene.platform.data_folder, scene.old, scene.new)
    scene.timeline.note(
        f"a labelling team leaves {len(scene.new['train'].labels):,} labelled scans of a new "
        "scanner in the data folder (the demonstration does its part)"
    )
    scene.stream.share_new = _SHARE_NEW
    scene.timeline.note(
        f"from now on {_SHARE_NEW:.0%} of the digits come from the new scanner: {NEW_SCANNER}",
        mark="drift begins",
    )
    windows = scene.wait_for_windows(model.version, "critical", count=1)
    first = next(window for window in windows if window.status == "critical")
    scene.timeline.note(
        f"drift is critical: {first.score:.3f} bits in {first.affected[0]}, the worst of "
        f"{len(first.affected)} features",
        mark="critical",
        at=first.at,
    )
    job = wait_for("A job submitted by the trigger", lambda: _triggered(scene))
    scene.timeline.note(
        f"the trigger submits job {job.job_id}: {job.reason}",
        mark="retraining",
        at=job.submitted_at.timestamp(),
    )
    scene.verdict.claim(
        f"drift alone submitted job {job.job_id}, with the reason: {job.reason}",
        holds=job.reason is not None and "drift" in job.reason.lower(),
    )
    return job


def _triggered(scene: Scene) -> Job | None:
    """The newest job, where it is not the first one, which was submitted by hand."""
    newest, *earlier = scene.platform.scheduler.list_jobs(model_name=MODEL).items
    return newest if earlier else None
