"""A stack on the screen: a live table, or a line for each change."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.cli.options import command_for
from services.cli.output import coloured, console, duration, print_json, say, table
from services.cli.stack.memory import memory_of
from services.cli.stack.state import ServiceState, StackState

if TYPE_CHECKING:
    from rich.table import Table

    from services.cli.stack.stack import Stack

_LOOK_SECONDS = 0.2
_REFRESH_SECONDS = 1.0
_COLOURS = {"ready": "green", "down": "bold red", "unready": "red", "starting": "yellow"}


def show_table(stack: Stack) -> None:
    """Keep a table on the terminal until the stack has ended."""
    from rich.live import Live

    screen = console()
    with Live(console=screen, auto_refresh=False, transient=False) as live:
        shown = 0.0
        told = False
        while stack.is_running:
            if stack.is_ready and not told:
                told = True
                hint = command_for(stack.folder, "submit --sample digits --watch")
                screen.print("The platform is ready. Ctrl-C stops it. Try in another terminal:")
                screen.print(f"  {hint}", style="bold", markup=False, soft_wrap=True)
            if time.monotonic() - shown > _REFRESH_SECONDS:
                live.update(services_table(stack.state, width=screen.width), refresh=True)
                shown = time.monotonic()
            time.sleep(_LOOK_SECONDS)


def show_changes(stack: Stack, *, as_json: bool) -> None:
    """Print a line for each change until the stack has ended."""
    known: dict[str, tuple[object, ...]] = {}
    told = False
    while stack.is_running:
        for service in stack.state.services:
            now = (service.condition, service.pid, service.restarts)
            if known.get(service.name) != now:
                known[service.name] = now
                _print_change(service, as_json=as_json)
        if stack.is_ready and not told:
            told = True
            if as_json:
                print_json(stack.state)
            else:
                say(f"The platform is ready in {stack.folder}.")
        time.sleep(_LOOK_SECONDS)


def services_table(state: StackState, *, width: int) -> Table:
    """Every service: where it is, and how it does."""
    columns = ("service", "url", ">pid", "health", ">up", ">restarts", ">memory")
    memory = memory_of({s.name: s.pid for s in state.services if s.pid is not None})
    rows = (
        (
            service.name,
            service.url,
            service.pid,
            coloured(service.condition, _COLOURS.get(service.condition, "")),
            _uptime(service),
            service.restarts or None,
            f"{memory[service.name] / 1e6:.0f} MB" if service.name in memory else None,
        )
        for service in state.services
    )
    return table(columns, rows, width=width)


def _uptime(service: ServiceState) -> str:
    if service.since is None or service.pid is None:
        return ""
    return duration((datetime.now(UTC) - service.since).total_seconds())


def _print_change(service: ServiceState, *, as_json: bool) -> None:
    if as_json:
        print_json(service)
        return
    words = [f"{datetime.now(UTC):%H:%M:%S}", service.name, service.condition]
    words += [service.url] if service.url else []
    words += [f"(process {service.pid})"] if service.pid else []
    words += [f"restarts: {service.restarts}"] if service.restarts else []
    say(" ".join(words))
