"""Drift, as the monitor measures it, in tables and bars."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.cli.output import ago, console, number, print_json, print_table, table
from utils.service.http import ServiceClient

_COLOURS = {"healthy": "green", "warning": "yellow", "critical": "bold red"}
_BAR = 24  # characters, for the feature that has moved most
_LEAST_FULL_BITS = 0.2  # so that small numbers look small


def show_models(monitor: ServiceClient, *, as_json: bool) -> None:
    """One line a model that is served."""
    found = monitor.call("GET", "/v1/drift").json()["items"]
    if as_json:
        print_json(found)
        return
    rows = (
        (
            one["model_name"],
            one["model_version"],
            _coloured(one["status"]),
            number(one["score"]),
            _ago(one.get("window_end")),
        )
        for one in found
    )
    columns = ("model", ">version", "status", ">bits", ">last window")
    print_table(columns, rows, "Nothing was asked of any model yet.")


def show_model(monitor: ServiceClient, name: str, limit: int, *, as_json: bool) -> None:
    """The windows of a model, and the features of the last one."""
    windows = monitor.call("GET", f"/v1/drift/{name}", params={"limit": limit}).json()["items"]
    if as_json:
        print_json(windows)
        return
    rows = (
        (
            _time(one["window_end"]),
            one["model_version"],
            one["rows"],
            _coloured(one["status"]),
            number(one["score"]),
            ", ".join(one["affected"]),
        )
        for one in windows
    )
    columns = ("end (UTC)", ">version", ">rows", "status", ">bits", "moved")
    print_table(columns, rows, f"No window of {name} is full yet.")
    if windows:
        _show_features(windows[0]["features"])


def _show_features(features: dict[str, Any]) -> None:
    made = table("feature of the last window", ">bits", ">p", "")
    ordered = sorted(features.items(), key=lambda item: -item[1]["js"])
    full = max([_LEAST_FULL_BITS, *(values["js"] for values in features.values())])
    for feature, values in ordered:
        bar = "█" * round(_BAR * values["js"] / full)
        made.add_row(feature, number(values["js"]), number(values["p"]), bar)
    console().print(made)


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/]" if colour else status


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"


def _ago(text: str | None) -> str:
    return "" if text is None else ago(datetime.fromisoformat(text))
