"""Chapter 4: the second version takes over while the client goes on, and all is well again."""

from __future__ import annotations

from services.cli.demo.chapters.training import follow_to_promotion
from services.cli.demo.client import SteadyClient
from services.cli.demo.jobs import MODEL
from services.cli.demo.scene import Scene
from services.cli.demo.tallies import accuracy
from services.cli.demo.traces import services_that_said
from services.cli.demo.waiting import wait_for
from utils.training.job_queue import Job
from utils.training.model_registry import RegisteredModel

_WINDOWS = 4
_SPEAKERS = {"monitor", "scheduler", "registry", "serving"}  # of a retraining, in their logs
_JOBS = 2  # one submitted by hand, one by the trigger
_LEAST_ACCURACY = 0.9  # of digits from the new scanner


def retrain_and_recover(scene: Scene, client: SteadyClient, job: Job, old: RegisteredModel) -> None:
    """Follow the trigger's job, its promotion, the switch, and what comes of it."""
    scene.console.rule("4. A second version is trained, and takes over")
    job, model = follow_to_promotion(scene, job.job_id)
    _wait_for_the_switch(scene, client, model)
    _follow_the_trace(scene, job, model)
    windows = scene.wait_for_windows(model.version, "healthy", _WINDOWS)
    first = next(window for window in windows if window.status == "healthy")
    scene.timeline.note(
        f"version {model.version} is healthy: drift {first.score:.3f} bits against the profile of "
        "its own training data, while the client still sends digits of both scanners",
        mark="healthy",
        at=first.at,
    )
    jobs = scene.platform.scheduler.list_jobs(model_name=MODEL).items
    scene.verdict.claim(
        f"drift fell back to healthy with version {model.version}, stayed so for {len(windows)} "
        "windows, and nothing more was trained",
        holds=all(window.status == "healthy" for window in windows) and len(jobs) == _JOBS,
    )
    _compare_accuracy(scene, client, old, model)


def _follow_the_trace(scene: Scene, job: Job, model: RegisteredModel) -> None:
    said = services_that_said(scene.platform.log_files, job.trace_id)
    sentence = f"trace {job.trace_id} is in the job, in the model, and in the logs of: " + (
        ", ".join(said) or "no service"
    )
    scene.timeline.note(sentence)
    kinds = {name.partition("-")[0] for name in said}
    scene.verdict.claim(
        sentence,
        holds=model.metadata.get("trace_id") == job.trace_id and kinds >= _SPEAKERS,
    )


def _wait_for_the_switch(scene: Scene, client: SteadyClient, model: RegisteredModel) -> None:
    def first_answer() -> float | None:
        answered = (a.at for a in list(client.answers) if a.version == model.version)
        return next(answered, None)

    at = wait_for(f"An answer of version {model.version}", first_answer)
    scene.timeline.note(
        f"version {model.version} answers the client", mark=f"v{model.version} answers", at=at
    )


def _compare_accuracy(
    scene: Scene, client: SteadyClient, old: RegisteredModel, new: RegisteredModel
) -> None:
    answers = list(client.answers)
    before, after = (
        accuracy([a for a in answers if a.version == model.version], is_new=True)
        for model in (old, new)
    )
    known = accuracy([a for a in answers if a.version == new.version], is_new=False)
    sentence = (
        f"of the new scanner's digits, version {old.version} read {before.share:.1%} right and "
        f"version {new.version} reads {after.share:.1%}; of the old scanner's {known.share:.1%}"
    )
    scene.timeline.note(sentence)
    scene.verdict.claim(
        sentence,
        holds=before.count > 0
        and before.share < after.share
        and min(after.share, known.share) >= _LEAST_ACCURACY,
    )
