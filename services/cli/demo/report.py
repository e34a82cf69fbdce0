"""The tables at the end: what happened when, how fast it was answered, where to look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table

from services.cli.demo.client import Answer
from services.cli.demo.tallies import faults, latencies
from services.cli.demo.timeline import Event


def report(
    *,
    events: Sequence[Event],
    answers: Sequence[Answer],
    trace_id: str,
    urls: Mapping[str, str],
    picture: Path,
) -> Group:
    """All of it, to be printed."""
    return Group(_events(events), _requests(answers), _places(trace_id, urls, picture))


def _events(events: Sequence[Event]) -> Table:
    table = Table(title="What happened", title_justify="left")
    table.add_column("second", justify="right", no_wrap=True)
    table.add_column("event")
    for event in events:
        table.add_row(f"{event.seconds:.1f}", event.what)
    return table


def _requests(answers: Sequence[Answer]) -> Table:
    table = Table(title="The client's requests", title_justify="left")
    for name in ("answered by", "requests", "failed", "p50 (ms)", "p99 (ms)"):
        table.add_column(name, justify="left" if name == "answered by" else "right")
    for latency in latencies(answers):
        table.add_row(
            f"version {latency.version}",
            f"{latency.requests:,}",
            "",  # a failed request was answered by no version
            f"{latency.p50:.1f}",
            f"{latency.p99:.1f}",
        )
    failed = len(faults(answers))
    table.add_row("all", f"{len(answers):,}", f"{failed:,}", "", "", style="bold")
    return table


def _places(trace_id: str, urls: Mapping[str, str], picture: Path) -> Table:
    table = Table(title="Where to look", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("trace of the retraining", trace_id)
    for name, url in urls.items():
        table.add_row(name, f"{url}/docs/swagger  {url}/metrics")
    table.add_row("picture", str(picture))
    return table
