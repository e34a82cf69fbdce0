"""The first request of a version: its bundle's own sample, with the output that it must give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from services.serving.backends.protocol import LoadError, Version

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def warm_up(version: Version, kind: str, answer: Answer) -> None:
    """Ask for the sample of a bundle, and compare with what it gave at its export.

    Args:
        version: whose bundle.
        kind: the format that answers, ``onnx`` or ``torchscript``.
        answer: sends one request to it.

    Raises:
        LoadError: a RuntimeError; the output differs by more than the bundle's own tolerance.
    """
    outputs = answer({"inputs": _tensors(version.folder / "sample_input.json")})["outputs"]
    expected = _tensors(version.folder / "expected_output.json")[0]
    manifest = json.loads((version.folder / "MANIFEST.json").read_text(encoding="utf-8"))
    tolerance = manifest["formats"][kind]["tolerance"]
    given, wanted = (np.array(tensor["data"], np.float64) for tensor in (outputs[0], expected))
    if given.shape != wanted.shape:
        raise LoadError(f"{version} gives {given.size} numbers, {wanted.size} were expected.")
    difference = float(np.abs(given - wanted).max())
    if not difference <= tolerance:
        raise LoadError(
            f"{version} differs from its expected output by {difference:.3g}, "
            f"allowed is {tolerance:.3g}."
        )


def _tensors(path: Path) -> list[dict[str, Any]]:
    tensors: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["tensors"]
    return tensors
