from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from utils.training.drift_metrics import js_divergence
from utils.training.drift_metrics.statistics import (
    adjusted_p,
    chi_square_p,
    chi_square_tail,
    exceedance_p,
    expected_js,
    hypergeometric_p,
    location_p,
    weighted_p,
)

counts = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=40)


def two_samples(pairs):
    left, right = np.array(pairs, dtype=np.int64).T
    assume(left.sum() > 0)
    assume(right.sum() > 0)
    return left, right


@given(counts)
def test_js_is_the_square_of_scipys_distance_in_bits(pairs):
    left, right = two_samples(pairs)
    assert js_divergence(left, right) == pytest.approx(
        float(np.nan_to_num(jensenshannon(left, right, 2))) ** 2, abs=1e-7
    )


@given(counts)
def test_js_is_symmetric_and_lies_between_0_and_1(pairs):
    left, right = two_samples(pairs)
    value = js_divergence(left, right)
    assert 0 <= value <= 1
    assert value == pytest.approx(js_divergence(right, left), abs=1e-12)
    assert js_divergence(left, left * 3) == pytest.approx(0, abs=1e-12)


def test_js_of_disjoint_distributions_is_1():
    assert js_divergence([0.5, 0.5, 0, 0], [0, 0, 1, 3]) == 1.0


@pytest.mark.parametrize(
    ("p", "q", "words"),
    [
        ([0, 0], [1, 1], "sums to 0"),
        ([1, -1], [1, 1], "sums to 0"),
        ([2, -1], [1, 1], "from 0 up"),
        ([1, float("nan")], [1, 1], "sums to nan"),
        ([1, 1], [1, 1, 1], "2 and 3 cells"),
        ([], [], "0 cells"),
    ],
)
def test_js_refuses_what_is_no_distribution(p, q, words):
    with pytest.raises(ValueError, match=words):
        js_divergence(p, q)


@pytest.mark.parametrize(
    ("shares", "n", "m"),
    [
        (np.full(10, 0.1), 100, 1000),
        (np.full(50, 0.02), 200, 200),
        (1 / np.arange(1, 301), 150, 5000),
    ],
)
def test_the_expected_divergence_is_the_mean_of_samples_without_drift(shares, n, m):
    generator = np.random.default_rng(5)
    pairs = [
        (
            generator.multinomial(m, shares / shares.sum()),
            generator.multinomial(n, shares / shares.sum()),
        )
        for _ in range(300)
    ]
    observed = np.mean([js_divergence(*pair) for pair in pairs])
    expected = np.mean([expected_js(*pair) for pair in pairs])
    assert expected == pytest.approx(observed, rel=0.03)
    swapped = np.mean([expected_js(*pair[::-1]) for pair in pairs])
    assert swapped == pytest.approx(expected, rel=1e-9)


def test_the_expected_divergence_of_nothing_is_0():
    assert expected_js(np.array([0, 0]), np.array([3, 1])) == 0.0


@given(st.floats(0, 300), st.integers(1, 60))
def test_the_chi_square_tail_is_scipys(statistic, degrees):
    assert chi_square_tail(statistic, degrees) == pytest.approx(
        stats.chi2.sf(statistic, degrees), rel=1e-9, abs=1e-300
    )


@given(counts)
def test_the_chi_square_p_is_scipys(pairs):
    left, right = two_samples(pairs)
    used = left + right > 0
    assume(used.sum() > 1)
    table = np.stack([left[used], right[used]])
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert chi_square_p(left, right) == pytest.approx(expected, rel=1e-6, abs=1e-300)


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_the_exact_p_is_scipys(n, m, data):
    pooled = data.draw(st.integers(0, n + m))
    hits = data.draw(st.integers(max(0, pooled - m), min(n, pooled)))
    rule = stats.hypergeom(n + m, pooled, n)
    expected = min(1.0, 2 * min(rule.sf(hits - 1), rule.cdf(hits)))
    assert hypergeometric_p(hits, pooled, n, m) == pytest.approx(expected, rel=1e-9)


def test_the_location_test_is_van_der_waerdens():
    generator = np.random.default_rng(3)
    left, right = generator.normal(size=300), generator.normal(0.2, size=200)
    edges = np.sort(np.concatenate([left, right]))
    cells = [np.searchsorted(np.sort(x), edges, side="right") for x in (left, right)]
    table = [np.diff(c, prepend=0) for c in cells]
    both = np.concatenate([left, right])
    scores = stats.norm.ppf((stats.rankdata(both) - 0.5) / 500)
    statistic = scores[300:].sum() - 200 * scores.mean()
    z = statistic / np.sqrt(200 * 300 / (500 * 499) * ((scores - scores.mean()) ** 2).sum())
    assert location_p(*table) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-6)


def test_the_location_test_agrees_with_kolmogorov_and_smirnov_on_a_clear_shift():
    generator = np.random.default_rng(3)
    left, right = generator.normal(size=2000), generator.normal(0.3, size=2000)
    edges = np.linspace(-3, 3, 60)
    table = [np.bincount(np.digitize(x, edges), minlength=61) for x in (left, right)]
    assert stats.ks_2samp(left, right).pvalue < 1e-6
    assert location_p(*table) < 1e-6


@pytest.mark.parametrize("table", [([5, 0], [7, 0]), ([0, 0], [1, 2]), ([3], [4])])
def test_what_can_not_differ_has_a_p_of_1(table):
    left, right = (np.array(row, dtype=np.int64) for row in table)
    assert location_p(left, right) == 1.0
    assert chi_square_p(left, right) == 1.0


def test_exceedance_is_the_chance_that_the_greatest_are_all_new():
    assert exceedance_p(0, 10, 10) == 1.0
    assert exceedance_p(1, 10, 30) == pytest.approx(10 / 40)
    assert exceedance_p(2, 10, 30) == pytest.approx(10 / 40 * 9 / 39)
    assert exceedance_p(3, 10, 0) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_adjusted_p_values_are_scipys(p_values):
    assert adjusted_p(p_values) == pytest.approx(
        stats.false_discovery_control(p_values).tolist(), abs=1e-12
    )


def test_no_p_values_have_no_adjusted_ones():
    assert adjusted_p([]) == []


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), max_size=5))
@settings(max_examples=50)
def test_a_weighted_p_is_never_below_its_smallest(tests):
    assert min([1.0, *(p for _, p in tests)]) - 1e-12 <= weighted_p(tests) <= 1.0
