"""The gate: better than the champion, as in memory, and fast enough, or no promotion."""

import numpy as np
import pytest

from utils.training.model_registry import ModelRegistry
from utils.training.promotion_gate import (
    GateClosedError,
    GatePolicy,
    Measurement,
    VerdictStore,
    decide,
)
from utils.training.promotion_gate.decision import paired_bootstrap


def measured(challenger, champion=None, **facts):
    values = {"greatest_difference": 1e-6, "tolerance": 1e-4, "latency_ms": 1.0} | facts
    return Measurement(
        held_out_digest="0" * 64, challenger_scores=challenger, champion_scores=champion, **values
    )


def answers(right, count=200):
    return [1.0] * right + [0.0] * (count - right)


def test_a_clearly_better_challenger_passes_and_says_by_how_much():
    verdict = decide(measured(answers(190), answers(150)), GatePolicy())
    assert verdict.passed
    assert verdict.difference == pytest.approx(0.2)
    assert 0.1 < verdict.lower < 0.2
    assert "+0.2000" in " ".join(verdict.reasons)


@pytest.mark.parametrize("challenger", [150, 148, 100])
def test_one_that_is_not_better_does_not_pass(challenger):
    assert not decide(measured(answers(challenger), answers(150)), GatePolicy()).passed


def test_a_negative_margin_lets_an_equal_one_pass():
    policy = GatePolicy(margin=-0.02)
    assert decide(measured(answers(150), answers(150)), policy).passed
    assert not decide(measured(answers(120), answers(150)), policy).passed


def test_samples_are_compared_one_by_one_not_means():
    generator = np.random.default_rng(0)
    champion = generator.normal(0, 10, 400)
    challenger = champion + 0.5
    assert decide(measured(challenger, champion), GatePolicy()).passed


def test_without_a_champion_parity_and_latency_decide():
    assert decide(measured(answers(1)), GatePolicy()).passed
    assert not decide(measured(answers(1), greatest_difference=1e-3), GatePolicy()).passed
    assert not decide(measured(answers(1), greatest_difference=float("nan")), GatePolicy()).passed
    assert not decide(measured(answers(1), latency_ms=51), GatePolicy()).passed


@pytest.mark.parametrize(
    ("challenger", "champion", "reason"),
    [
        ([], None, "no scores"),
        ([1.0], [1.0, 0.0], "same samples"),
        ([float("nan")], None, "NaN or Inf"),
        ([1.0], [float("inf")], "NaN or Inf"),
    ],
)
def test_scores_that_cant_be_compared_are_refused(challenger, champion, reason):
    with pytest.raises(ValueError, match=reason):
        decide(measured(challenger, champion), GatePolicy())


def test_an_equal_challenger_passes_by_chance_as_rarely_as_promised():
    generator = np.random.default_rng(1)
    passes = 0
    for _ in range(300):
        difference = generator.integers(0, 2, 300) - generator.integers(0, 2, 300)
        passes += paired_bootstrap(difference.astype(float), 0.95)[1] > 0
    assert passes / 300 < 0.09


def test_the_same_scores_give_the_same_verdict():
    first = decide(measured(answers(160), answers(150)), GatePolicy())
    assert decide(measured(answers(160), answers(150)), GatePolicy()) == first


@pytest.fixture
def stores(database_url):
    with ModelRegistry(database_url) as registry, VerdictStore(database_url) as verdicts:
        model_id = registry.register_model("digits", "1", "artifact:x", "vision_classification")
        yield model_id, verdicts


def test_the_newest_verdict_counts(stores):
    model_id, verdicts = stores
    good = decide(measured(answers(190), answers(150)), GatePolicy())
    bad = decide(measured(answers(150), answers(150)), GatePolicy())
    verdicts.record(model_id, 7, bad)
    verdicts.record(model_id, 8, good)
    assert verdicts.newest(model_id) == (good, 8)
    assert verdicts.champion_passed_against(model_id) == 8
    verdicts.record(model_id, None, good)
    assert verdicts.champion_passed_against(model_id) == 0
    verdicts.record(model_id, 8, bad)
    with pytest.raises(GateClosedError, match="did not pass the gate"):
        verdicts.champion_passed_against(model_id)


def test_a_model_that_was_never_measured_is_held(stores):
    model_id, verdicts = stores
    assert verdicts.newest(model_id) is None
    with pytest.raises(GateClosedError, match="has not been evaluated"):
        verdicts.champion_passed_against(model_id)
