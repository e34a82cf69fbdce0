"""A training from the outside: followed to its end, and to the promotion of what it made."""

from __future__ import annotations

from services.cli.demo.jobs import MODEL
from services.cli.demo.scene import Scene
from services.cli.demo.waiting import DemoError
from services.cli.watching import follow, live_view
from utils.training.job_queue import Job, JobStatus
from utils.training.model_registry import RegisteredModel


def follow_to_promotion(scene: Scene, job_id: int) -> tuple[Job, RegisteredModel]:
    """Show a training job to its end; give it, with the model it registered and promoted.

    Raises:
        DemoError: a RuntimeError; it failed, or its model was not promoted.
    """
    job = follow(scene.platform.scheduler, job_id, live_view(job_id))
    if job.status is not JobStatus.COMPLETED or job.result is None:
        raise DemoError(f"Job {job_id} is {job.status}: {job.error or job.status_reason}")
    model = scene.platform.registry.get_model(job.result["model_id"])
    verdict = job.result["verdict"]
    sentence = f"job {job_id} trained version {model.version}, which passed the gate"
    is_promoted = scene.verdict.claim(
        f"{sentence} and was promoted",
        holds=verdict["passed"] and job.result["promoted"] and model.tag == "production",
    )
    if not is_promoted:
        raise DemoError(f"Version {model.version} was not promoted: {' '.join(verdict['reasons'])}")
    history = scene.platform.registry.history(MODEL)
    promotion = next(entry for entry in history if entry.model_id == model.model_id)
    scene.timeline.note(
        f"{sentence} and is production: {verdict['reasons'][-1]}",
        mark=f"v{model.version} promoted",
        at=promotion.at.timestamp(),
    )
    return job, model
