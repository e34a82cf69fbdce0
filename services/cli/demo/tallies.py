"""Counts over the client's answers: accuracy by scanner, latency by version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.cli.demo.client import Answer


@dataclass(frozen=True)
class Accuracy:
    """How many digits were read right, of how many."""

    right: int
    count: int

    @property
    def share(self) -> float:
        """In 0..1; NaN where there was no digit."""
        return self.right / self.count if self.count else float("nan")


@dataclass(frozen=True)
class Latency:
    """How long the answers of one version took, in milliseconds."""

    version: str
    requests: int
    p50: float
    p99: float


def accuracy(answers: Iterable[Answer], *, is_new: bool | None = None) -> Accuracy:
    """Over the digits of both scanners, or of one."""
    rights = [
        right
        for answer in answers
        if answer.fault is None
        for right, new in zip(answer.right, answer.is_new, strict=True)
        if is_new is None or new == is_new
    ]
    return Accuracy(sum(rights), len(rights))


def latencies(answers: Iterable[Answer]) -> list[Latency]:
    """Of each version that answered, in the order of their numbers."""
    times: dict[str, list[float]] = {}
    for answer in answers:
        if answer.fault is None and answer.version is not None:
            times.setdefault(answer.version, []).append(answer.seconds * 1000)
    return [_latency(version, times[version]) for version in sorted(times, key=int)]


def faults(answers: Iterable[Answer]) -> list[str]:
    """Why requests failed, one sentence each."""
    return [answer.fault for answer in answers if answer.fault is not None]


def by_interval(
    answers: Sequence[Answer], seconds: float, *, is_new: bool | None = None
) -> tuple[list[float], list[float]]:
    """Accuracy over time: the middles of the intervals (Unix time), and the shares in 0..1."""
    groups: dict[int, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(int(answer.at // seconds), []).append(answer)
    found = {key: accuracy(group, is_new=is_new) for key, group in sorted(groups.items())}
    kept = {key: value for key, value in found.items() if value.count}
    return [(key + 0.5) * seconds for key in kept], [value.share for value in kept.values()]


def _latency(version: str, milliseconds: list[float]) -> Latency:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return Latency(version, len(milliseconds), float(p50), float(p99))
