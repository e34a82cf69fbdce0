"""Two scanners of handwritten digits: the one that the first model knows, and a new one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.service.digits import Part, Scans

NEW_SCANNER = "dark and light swapped, one pixel down and right, noisy"

Digits = dict[Part, Scans]

_NOISE = 0.1  # standard deviation, of grey levels in 0..1
_DECIMALS = 3


def rescan_all(digits: Digits) -> Digits:
    """Every part, as the new scanner sees it; each scan has noise of its own."""
    return {part: rescan(scans, seed) for seed, (part, scans) in enumerate(digits.items())}


def rescan(scans: Scans, seed: int) -> Scans:
    """The same digits as the new scanner sees them: inverted, shifted by one pixel, noisy."""
    shifted = np.zeros_like(scans.images)
    shifted[:, 1:, 1:] = scans.images[:, :-1, :-1]
    noise = np.random.default_rng(seed).normal(0, _NOISE, shifted.shape)
    images = np.clip(1 - shifted + noise, 0, 1).round(_DECIMALS)
    return Scans(images, scans.labels)


def write_scans(path: Path, parts: Sequence[Scans]) -> Path:
    """Write labelled scans as JSON Lines (``pixel_values`` [8, 8] and ``labels``), all or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for part in parts:
            for image, label in zip(part.images.tolist(), part.labels.tolist(), strict=True):
                file.write(json.dumps({"pixel_values": image, "labels": label}) + "\n")
    return partial.replace(path)
