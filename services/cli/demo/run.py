"""From an empty folder to a verdict."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from services.cli.demo.folder import fresh_folder
from services.cli.demo.leftovers import left_behind, processes_in
from services.cli.demo.picture import Thresholds, draw
from services.cli.demo.platform import Platform
from services.cli.demo.report import report
from services.cli.demo.story import Told, tell
from services.cli.demo.timeline import Event, Timeline
from services.cli.demo.verdict import Claim, Verdict
from services.cli.demo.waiting import DemoError
from services.cli.stack.errors import StackError
from services.cli.stack.options import Backend, StackOptions
from services.cli.stack.stack import Stack
from utils.service.contracts.jobs import TriggerRule
from utils.service.http import RemoteError, UnreachableError

_CLAIMS = 10  # that are made where nothing stops the story


@dataclass(frozen=True)
class Ending:
    """How the story ended: exit code 0 where everything that was claimed was true."""

    exit_code: int
    seconds: float
    claims: list[Claim]
    failures: list[str]
    events: list[Event]


def run(folder: Path, backend: Backend, console: Console, *, keep: bool = False) -> Ending:
    """Tell the whole story.

    Args:
        folder: of its state; wiped.
        backend: what serves the models.
        console: what it is told on.
        keep: let the platform stay up until Ctrl-C.
    """
    timeline = Timeline(lambda line: console.print(line, highlight=False, soft_wrap=True))
    verdict = Verdict(_CLAIMS, lambda line: console.print(line, style="bold red", soft_wrap=True))
    before = processes_in(folder)
    try:
        fresh_folder(folder)
        _run(folder, backend, console, timeline, verdict, keep=keep)
    except (DemoError, StackError, RemoteError, UnreachableError) as error:
        verdict.claim(str(error), holds=False)
        console.print(f"The services' logs are in {folder / 'logs'}.", soft_wrap=True)
    left = left_behind(folder, before)
    words = ", ".join(f"{name} ({pid})" for pid, name in sorted(left)) or "nothing"
    verdict.claim(f"{words} is left running", holds=not left)
    _conclude(console, timeline, verdict)
    return Ending(
        verdict.exit_code,
        timeline.seconds(),
        verdict.claims,
        verdict.failures,
        timeline.ordered(),
    )


def _run(
    folder: Path,
    backend: Backend,
    console: Console,
    timeline: Timeline,
    verdict: Verdict,
    *,
    keep: bool,
) -> None:
    console.rule("0. Start the platform")
    with (
        Stack(folder, StackOptions(backend=backend)) as stack,
        Platform.of(stack.state) as platform,
    ):
        names = ", ".join(service.name for service in stack.state.services)
        timeline.note(f"the platform is up: {names}")
        told = tell(platform, timeline, verdict, console)
        _show(folder, platform, console, timeline, told)
        if keep:
            console.print("The platform stays up until Ctrl-C.", style="bold")
            _wait_for_interrupt()


def _show(
    folder: Path, platform: Platform, console: Console, timeline: Timeline, told: Told
) -> None:
    levels = TriggerRule.model_fields
    picture = draw(
        folder / "demo.png",
        started=timeline.started,
        drift=told.drift,
        answers=told.answers,
        events=timeline.ordered(),
        thresholds=Thresholds(levels["drift_warning"].default, levels["drift_threshold"].default),
    )
    console.print()
    console.print(
        report(
            events=timeline.ordered(),
            answers=told.answers,
            trace_id=told.trace_id,
            urls=platform.urls,
            picture=picture,
        )
    )


def _wait_for_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _conclude(console: Console, timeline: Timeline, verdict: Verdict) -> None:
    console.rule(f"{timeline.seconds():.0f} s")
    for sentence in verdict.failures:
        console.print(f"FAILED: {sentence}", style="bold red", soft_wrap=True)
    if not verdict.failures:
        console.print(f"All {len(verdict.claims)} claims were true.", style="bold green")
