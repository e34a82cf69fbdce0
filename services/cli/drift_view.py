"""Drift, as the monitor measures it, in tables and bars."""

from __future__ import annotations

from collections.abc import Mapping

from services.cli.output import ago, coloured, number, print_json, print_table, say
from utils.service.clients.monitor import MonitorClient
from utils.service.contracts.drift import FeatureShift

_COLOURS = {"healthy": "green", "warning": "yellow", "critical": "bold red"}
_BAR = 24  # characters, for the feature that has moved most
_LEAST_FULL_BITS = 0.2  # so that small numbers look small


def show_models(monitor: MonitorClient, *, as_json: bool) -> None:
    """One line for each version that is asked."""
    found = monitor.drift()
    if as_json:
        print_json(found)
        return
    rows = (
        (
            one.model_name,
            one.model_version,
            _coloured(one.status),
            number(one.score),
            ", ".join(one.last_window.affected) or one.last_window.note,
            ago(one.window_end),
        )
        for one in found
    )
    columns = ("model", ">version", "status", ">bits", "~moved", ">last window")
    print_table(columns, rows, "No window of any model is full yet.")


def show_model(monitor: MonitorClient, name: str, limit: int, *, as_json: bool) -> None:
    """The windows of a model, and the features of the last one."""
    windows = monitor.windows(name, limit)
    if as_json:
        print_json(windows)
        return
    rows = (
        (
            f"{one.window_end:%Y-%m-%d %H:%M:%S}",
            one.version,
            one.rows,
            one.errors,
            _coloured(one.status),
            number(one.score),
            ", ".join(one.affected) or one.note,
        )
        for one in windows
    )
    columns = ("end (UTC)", ">version", ">rows", ">errors", "status", ">bits", "~moved")
    print_table(columns, rows, f"No window of {name} is full yet.")
    if windows and windows[0].features:
        _show_features(windows[0].features)


def _show_features(features: Mapping[str, FeatureShift]) -> None:
    say("The features of the last window:")
    full = max([_LEAST_FULL_BITS, *(shift.js for shift in features.values())])
    rows = (
        (feature, number(shift.js), number(shift.p), "█" * round(_BAR * shift.js / full))
        for feature, shift in sorted(features.items(), key=lambda item: -item[1].js)
    )
    print_table(("feature", ">bits", ">p", ""), rows, "It has no features.")


def _coloured(status: str) -> object:
    return coloured(status, _COLOURS.get(status, ""))
