"""The story, chapter by chapter."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from services.cli.demo.chapters.calm import serve_calmly
from services.cli.demo.chapters.drift import drift_and_be_noticed
from services.cli.demo.chapters.first_version import train_and_serve
from services.cli.demo.chapters.recovery import retrain_and_recover
from services.cli.demo.client import Answer, Gateway, SteadyClient
from services.cli.demo.drift_log import DriftPoint, windows
from services.cli.demo.jobs import MODEL
from services.cli.demo.platform import Platform
from services.cli.demo.scanners import rescan_all
from services.cli.demo.scene import Scene
from services.cli.demo.stream import DigitStream
from services.cli.demo.tallies import faults
from services.cli.demo.timeline import Timeline
from services.cli.demo.verdict import Verdict
from utils.service.digits import read_digits

_DIGITS_OF_A_REQUEST = 4
_REQUESTS_PER_SECOND = 30.0


@dataclass(frozen=True)
class Told:
    """What the story leaves to be shown."""

    answers: list[Answer]
    drift: list[DriftPoint]
    trace_id: str  # of the retraining


def tell(platform: Platform, timeline: Timeline, verdict: Verdict, console: Console) -> Told:
    """Everything from the first job to the recovery, on a platform that has seen nothing yet.

    Raises:
        DemoError: a RuntimeError; it can't go on.
    """
    old = read_digits()
    new = rescan_all(old)
    stream = DigitStream(old["test"], new["test"], _DIGITS_OF_A_REQUEST)
    scene = Scene(platform, timeline, verdict, console, old, new, stream)
    with Gateway(platform.serving_url, platform.serving_token, MODEL) as gateway:
        first = train_and_serve(scene, gateway)
        with SteadyClient(gateway, stream, _REQUESTS_PER_SECOND) as client:
            serve_calmly(scene, first)
            job = drift_and_be_noticed(scene, first)
            retrain_and_recover(scene, client, job, first)
    judge_requests(client.answers, timeline, verdict)
    return Told(client.answers, windows(platform.monitor, MODEL), job.trace_id)


def judge_requests(answers: list[Answer], timeline: Timeline, verdict: Verdict) -> None:
    """Claim that the client was always answered, by a version that could be meant."""
    failed = faults(answers)
    sentence = f"the client sent {len(answers):,} requests, and {len(failed)} failed"
    timeline.note(sentence)
    first = f"; the first: {failed[0]}" if failed else ""
    verdict.claim(sentence + first, holds=bool(answers) and not failed)
