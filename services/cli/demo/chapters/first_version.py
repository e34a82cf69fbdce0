"""Chapter 1: a job is submitted, and its model is served as well as it was measured."""

from __future__ import annotations

from services.cli.demo.chapters.training import follow_to_promotion
from services.cli.demo.client import Gateway
from services.cli.demo.jobs import MODEL, first_job, retraining_rule
from services.cli.demo.scene import Scene
from services.cli.demo.stream import whole
from services.cli.demo.tallies import accuracy
from services.cli.demo.waiting import wait_for
from utils.training.model_registry import RegisteredModel

_LEAST_ACCURACY = 0.94
_CHUNK = 30  # digits of a request


def train_and_serve(scene: Scene, gateway: Gateway) -> RegisteredModel:
    """Submit the first job, and see its model served; then set the rule for all later ones."""
    scene.console.rule("1. Train a first version, and serve it")
    count = len(scene.old["train"].labels)
    scheduler = scene.platform.scheduler
    job = scheduler.submit("training", first_job().model_dump(mode="json"))
    scene.timeline.note(f"job {job.job_id} is submitted: train on {count:,} scanned digits")
    _, model = follow_to_promotion(scene, job.job_id)
    wait_for("The first version at the gateway", lambda: scene.platform.is_served() or None)
    scene.timeline.note(f"the gateway serves version {model.version}")
    _compare_with_training(scene, gateway, model)
    scheduler.put_trigger(MODEL, retraining_rule())
    scene.timeline.note("a rule is set: train again when drift is critical in 2 of 3 windows")
    return model


def _compare_with_training(scene: Scene, gateway: Gateway, model: RegisteredModel) -> None:
    """Send every held-out digit over HTTP."""
    answers = [gateway.ask(batch) for batch in whole(scene.old["test"], _CHUNK)]
    served, trained = accuracy(answers), model.metrics["held_out_accuracy"]
    is_same = served.count > 0 and abs(served.share - trained) * served.count < 1
    sentence = (
        f"over HTTP, version {model.version} reads {served.share:.1%} of {served.count} held-out "
        f"digits right; training measured {trained:.1%}"
    )
    scene.timeline.note(sentence)
    scene.verdict.claim(sentence, holds=is_same and served.share >= _LEAST_ACCURACY)
