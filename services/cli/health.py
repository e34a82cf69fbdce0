"""How every service does: from the stack's own state, or asked one by one."""

from __future__ import annotations

from pathlib import Path

import httpx
import typer

from services.cli.connection import connect
from services.cli.errors import ExitCode
from services.cli.options import DEFAULT_FOLDER
from services.cli.output import console, print_json, print_table, say
from services.cli.running import running_state
from services.cli.stack.memory import memory_of
from services.cli.stack_view import services_table

_PROBE_SECONDS = 3.0


def show(folder: Path | None, *, as_json: bool) -> None:
    """Show it.

    Raises:
        typer.Exit: with code 1; a service is not ready.
        NotRunningError: a ConnectionError; nothing runs there.
    """
    connection = None if folder else _elsewhere()
    is_fine = (
        _show_stack(folder, as_json=as_json)
        if connection is None
        else _show_urls(connection, as_json=as_json)
    )
    if not is_fine:
        raise typer.Exit(ExitCode.REFUSED)


def _elsewhere() -> dict[str, list[str]] | None:
    import os

    from services.cli.connection import SERVICES

    if any(f"TRAINING_{kind.upper()}_URL" in os.environ for kind in SERVICES):
        return dict(connect(None).urls)
    return None


def _show_stack(folder: Path | None, *, as_json: bool) -> bool:
    place = (folder or DEFAULT_FOLDER).absolute()
    state = running_state(place)
    if as_json:
        memory = memory_of({s.name: s.pid for s in state.services if s.pid is not None})
        document = state.model_dump()
        for service in document["services"]:
            service["memory_bytes"] = memory.get(service["name"])
        print_json(document)
    else:
        screen = console()
        screen.print(services_table(state, width=screen.width))
        if not state.is_ready:
            say("It is starting.")
    return state.is_ready and all(service.condition == "ready" for service in state.services)


def _show_urls(urls: dict[str, list[str]], *, as_json: bool) -> bool:
    found = [(kind, url, readiness(url)) for kind, all_of in urls.items() for url in all_of]
    if as_json:
        print_json([{"kind": kind, "url": url, "condition": said} for kind, url, said in found])
    else:
        print_table(("service", "url", "health"), found, "No service is known.")
    return all(said in ("ok", "degraded") for _, _, said in found)


def readiness(url: str) -> str:
    """What a service says of itself: ok, degraded, unready, or that it did not answer."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_PROBE_SECONDS, trust_env=False)
        return str(answer.json()["status"])
    except (httpx.TransportError, ValueError, KeyError):
        return "unreachable"
