"""The decision: a paired bootstrap of the difference, parity of the bundle, and its latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.training.errors import InvalidArgumentError

_ROUNDS = 2000
_DRAWS_AT_ONCE = 5_000_000  # bounds the memory of large held-out sets


@dataclass(frozen=True)
class GatePolicy:
    """What a challenger must do.

    Its mean score must exceed the champion's by ``margin`` (a negative one allows it to fall short)
    with the one-sided ``confidence``; its median latency must keep the budget, in milliseconds.
    """

    margin: float = 0.0
    confidence: float = 0.95
    latency_budget_ms: float = 50.0


@dataclass(frozen=True)
class Measurement:
    """What was measured: a score a sample (higher is better), and facts of the bundle."""

    held_out_digest: str
    challenger_scores: Sequence[float]
    champion_scores: Sequence[float] | None  # None: the name has no champion yet
    greatest_difference: float
    tolerance: float
    latency_ms: float


@dataclass(frozen=True)
class Verdict:
    """Passed or not, why, and the numbers behind it.

    ``difference`` is the mean of challenger minus champion, ``lower`` its bound; both are None
    without a champion.
    """

    passed: bool
    reasons: list[str]
    held_out_digest: str
    num_samples: int
    challenger_mean: float
    difference: float | None
    lower: float | None
    greatest_difference: float
    latency_ms: float


def decide(measured: Measurement, policy: GatePolicy) -> Verdict:
    """Judge a measurement; every rule is reported, kept or broken.

    Raises:
        ValueError: scores are missing, not finite, or not of the same samples.
    """
    challenger, champion = _checked(measured)
    difference = lower = None
    checks = [_parity(measured), _latency(measured, policy)]
    if champion is not None:
        difference, lower = paired_bootstrap(challenger - champion, policy.confidence)
        checks.append(_improvement(difference, lower, policy))
    else:
        checks.append((True, "There is no champion to beat."))
    return Verdict(
        passed=all(kept for kept, _ in checks),
        reasons=[sentence for _, sentence in checks],
        held_out_digest=measured.held_out_digest,
        num_samples=len(challenger),
        challenger_mean=float(challenger.mean()),
        difference=difference,
        lower=lower,
        greatest_difference=measured.greatest_difference,
        latency_ms=measured.latency_ms,
    )


def paired_bootstrap(differences: np.ndarray, confidence: float) -> tuple[float, float]:
    """The mean of paired differences and its lower bound, by the percentile bootstrap.

    Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; seeded, so that the
    same scores give the same verdict.
    """
    generator = np.random.default_rng(0)
    count = len(differences)
    rounds_at_once = max(1, _DRAWS_AT_ONCE // count)
    means = []
    for start in range(0, _ROUNDS, rounds_at_once):
        rounds = min(rounds_at_once, _ROUNDS - start)
        drawn = generator.integers(0, count, (rounds, count))
        means.append(differences[drawn].mean(axis=1))
    lower = np.quantile(np.concatenate(means), 1 - confidence)
    return float(differences.mean()), float(lower)


def _checked(measured: Measurement) -> tuple[np.ndarray, np.ndarray | None]:
    challenger = np.asarray(measured.challenger_scores, dtype=np.float64)
    if challenger.size == 0:
        raise InvalidArgumentError(
            "The challenger has no scores; measure it on at least one sample."
        )
    champion = None
    if measured.champion_scores is not None:
        champion = np.asarray(measured.champion_scores, dtype=np.float64)
        if champion.shape != challenger.shape:
            raise InvalidArgumentError(
                f"The challenger has {challenger.size} scores and the champion {champion.size}; "
                "measure both on the same samples."
            )
    if not all(
        np.isfinite(scores).all() for scores in (challenger, champion) if scores is not None
    ):
        raise InvalidArgumentError(
            "A score is NaN or Inf; a model that answers so is not to be promoted."
        )
    return challenger, champion


def _parity(measured: Measurement) -> tuple[bool, str]:
    kept = measured.greatest_difference <= measured.tolerance
    return kept and math.isfinite(measured.greatest_difference), (
        f"The bundle differs from the model in memory by {measured.greatest_difference:.3g}, "
        f"allowed is {measured.tolerance:.3g}."
    )


def _latency(measured: Measurement, policy: GatePolicy) -> tuple[bool, str]:
    return measured.latency_ms <= policy.latency_budget_ms, (
        f"The median latency is {measured.latency_ms:.2f} ms, "
        f"allowed are {policy.latency_budget_ms:g} ms."
    )


def _improvement(difference: float, lower: float, policy: GatePolicy) -> tuple[bool, str]:
    return lower > policy.margin, (
        f"The challenger scores {difference:+.4f} against the champion, at least {lower:+.4f} with "
        f"{policy.confidence:.0%} confidence; wanted is more than {policy.margin:+.4f}."
    )
