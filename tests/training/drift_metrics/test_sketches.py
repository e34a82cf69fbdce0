from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.training.drift_metrics import categories, numeric_sketch
from utils.training.drift_metrics.categories import CategoricalFeature
from utils.training.drift_metrics.embeddings import MAX_VECTORS, EmbeddingFeature
from utils.training.drift_metrics.numeric import NumericFeature
from utils.training.drift_metrics.numeric_sketch import (
    MAX_BUCKETS,
    NumericSketch,
    from_ordinals,
    to_ordinals,
)
from utils.training.drift_metrics.tokens import TokenFeature

doubles = st.floats(allow_nan=True, allow_infinity=True)
numbers = st.lists(doubles, max_size=60)
names = st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers(0, 40)), max_size=60)
documents = st.lists(st.lists(st.integers(0, 70_000), max_size=8).map(np.int64), max_size=12)
vectors = st.lists(st.tuples(doubles, doubles), max_size=20).map(
    lambda rows: np.array(rows, dtype=float).reshape(-1, 2)
)

KINDS = {
    "numeric": (NumericFeature, numbers),
    "categorical": (CategoricalFeature, names),
    "tokens": (TokenFeature, documents),
    "embedding": (EmbeddingFeature, vectors),
}


@pytest.fixture(autouse=True)
def small_sketches(monkeypatch):
    """Few buckets, so that short lists already collapse them."""
    monkeypatch.setattr(numeric_sketch, "MAX_BUCKETS", 8)
    monkeypatch.setattr(categories, "MAX_BUCKETS", 8)
    monkeypatch.setattr(sys.modules[EmbeddingFeature.__module__], "MAX_VECTORS", 8)


def joined(first, second):
    return np.concatenate([first, second]) if isinstance(first, np.ndarray) else first + second


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=150)
def test_a_merge_is_exactly_one_pass_in_any_order(kind, data):
    feature, values = KINDS[kind]
    parts = [data.draw(values) for _ in range(3)]
    a, b, c = (feature.empty().add(part) for part in parts)
    one_pass = feature.empty().add(joined(joined(parts[0], parts[1]), parts[2])).to_dict()
    assert a.merge(b).merge(c).to_dict() == one_pass
    assert a.merge(b.merge(c)).to_dict() == one_pass
    assert c.merge(a).merge(b).to_dict() == one_pass
    assert feature.empty().add(parts[0]).add(parts[1]).add(parts[2]).to_dict() == one_pass


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=50)
def test_json_gives_the_feature_back(kind, data):
    feature, values = KINDS[kind]
    made = feature.empty().add(data.draw(values))
    text = json.dumps(made.to_dict(), allow_nan=False)
    again = feature.from_dict(json.loads(text))
    assert again.to_dict() == made.to_dict()
    assert again.rows == made.rows


@given(numbers, numbers, numbers)
def test_windows_of_one_reference_merge_exactly(reference, first, second):
    empty = NumericFeature.empty().add(reference).window()
    merged = empty.add(first).merge(empty.add(second))
    assert merged.to_dict() == empty.add(first + second).to_dict()
    assert NumericFeature.from_dict(merged.to_dict()).to_dict() == merged.to_dict()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_ordinals_keep_the_order_and_give_the_numbers_back(values):
    array = np.array(values)
    ordinals = to_ordinals(array)
    assert np.array_equal(from_ordinals(ordinals), array)
    in_order = ordinals[np.argsort(array, kind="stable")]
    assert (in_order[:-1] <= in_order[1:]).all()


@given(numbers, numbers)
def test_both_sides_are_counted_in_full_and_alike(left, right):
    reference, current = (NumericFeature.empty().add(values) for values in (left, right))
    cells = reference.paired_cells(current)
    assert len(cells[0]) == len(cells[1])
    for counted, feature in zip(cells, (reference, current), strict=True):
        assert counted.sum() + feature.missing == feature.rows
    windowed = reference.paired_cells(reference.window().add(right))
    assert windowed[1].sum() == cells[1].sum()


@given(numbers)
def test_a_window_and_a_sketch_of_the_same_data_agree(values):
    reference = NumericFeature.empty().add(values)
    alike = reference.paired_cells(NumericFeature.empty().add(values))
    assert np.array_equal(*alike)
    assert np.array_equal(*reference.paired_cells(reference.window().add(values)))


class TestTrueSizes:
    @pytest.fixture(autouse=True)
    def small_sketches(self):
        """The sizes that ship."""

    @pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
    @pytest.mark.parametrize("offset", [0.0, 1.7])
    def test_a_sketch_stays_small_whatever_the_data(self, scale, offset):
        generator = np.random.default_rng(0)
        feature = NumericFeature.empty()
        for _ in range(20):
            wide = generator.normal(size=2000) * 10 ** generator.uniform(-5, 5, 2000)
            feature = feature.add((wide / 1e7 + offset) * scale)
        assert 0 < len(feature.to_dict()["sketch"]["counts"]) <= MAX_BUCKETS
        assert len(feature.to_dict()["edges"]) <= 41

    def test_few_distinct_values_are_counted_exactly(self):
        values = np.repeat(np.arange(-300, 300), 3)
        sketch = NumericSketch.empty().add(to_ordinals(values.astype(float)))
        assert sketch.level == 0
        assert set(sketch.counts.tolist()) == {3}

    def test_a_time_stamp_keeps_its_resolution(self):
        generator = np.random.default_rng(0)
        values = 1.7e9 + generator.uniform(0, 86_400, 50_000)
        edges = np.array(NumericFeature.empty().add(values).to_dict()["edges"])
        quantiles = np.quantile(values, np.linspace(0, 1, 41))
        assert np.abs(edges[1:-1] - quantiles[1:-1]).max() < 86_400 / 100

    def test_one_outlier_does_not_move_the_edges(self):
        values = np.random.default_rng(0).normal(size=10_000)
        plain = NumericFeature.empty().add(values).to_dict()["edges"]
        spoilt = NumericFeature.empty().add([*values, 1e12]).to_dict()["edges"]
        assert np.abs(np.subtract(plain[1:-1], spoilt[1:-1])).max() < 0.1

    def test_ten_thousand_categories_are_bounded_and_still_counted(self):
        generator = np.random.default_rng(0)
        values = [f"user-{number}" for number in generator.integers(0, 10_000, 30_000)]
        feature = CategoricalFeature.empty().add(values)
        assert len(feature.buckets) <= categories.MAX_BUCKETS
        assert feature.rows == 30_000
        assert len(json.dumps(feature.to_dict())) < 40_000

    def test_long_names_are_cut_and_told_apart(self):
        long = ["a" * 500 + "x", "a" * 500 + "y"]
        stored = CategoricalFeature.empty().add(long).to_dict()
        assert len(set(stored["names"])) == 2
        assert max(map(len, stored["names"])) < 120

    def test_a_wide_embedding_is_projected_and_sampled(self):
        rows = np.random.default_rng(0).normal(size=(3000, 700))
        feature = EmbeddingFeature.empty().add(rows)
        assert feature.vectors.shape == (MAX_VECTORS, 64)
        lengths = np.linalg.norm(feature.vectors, axis=1) / np.sqrt(700)
        assert lengths.mean() == pytest.approx(1, abs=0.05)
        parts = EmbeddingFeature.empty()
        for part in np.array_split(rows, 7):
            parts = parts.merge(EmbeddingFeature.empty().add(part))
        assert parts.to_dict() == feature.to_dict()

    def test_the_sample_of_embeddings_is_a_fair_one(self):
        rows = np.random.default_rng(0).normal(size=(20_000, 4))
        rows[:10_000, 0] += 3
        sample = EmbeddingFeature.empty().add(rows).vectors
        assert (sample[:, 0] > 1.5).mean() == pytest.approx(0.5, abs=0.08)


def test_windows_of_other_references_do_not_merge_and_do_not_compare():
    generator = np.random.default_rng(0)
    first, second = (NumericFeature.empty().add(generator.normal(size=99)) for _ in range(2))
    with pytest.raises(ValueError, match="different bins"):
        first.window().merge(second.window())
    with pytest.raises(ValueError, match="different bins"):
        first.merge(first.window())
    with pytest.raises(ValueError, match="bins of another reference"):
        first.paired_cells(second.window())


def test_a_window_may_serve_as_a_reference():
    generator = np.random.default_rng(0)
    window = NumericFeature.empty().add(generator.normal(size=999)).window()
    values = generator.normal(size=500)
    reference = window.add(values)
    again = reference.paired_cells(reference.window().add(values))
    assert np.array_equal(*again)
    coarse = reference.paired_cells(NumericFeature.empty().add(values))
    assert coarse[0].sum() == coarse[1].sum() == 500
