from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from utils.training.drift_metrics import MIN_ROWS, compare_profiles, profile_dataset
from utils.training.task_spec import TaskSpec

TABLE = TaskSpec(name="cells", modality="tabular")
TEXT = TaskSpec(name="notes", modality="text", vocab_size=2000)


def table(rows, features=1, shift=0.0, seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, features))
    values[:, 0] += shift
    return values


def compare(left, right, *, spec=TABLE, in_bins_of_reference=True, **thresholds):
    reference = profile_dataset(left, spec)
    window = profile_dataset(right, spec, reference=reference if in_bins_of_reference else None)
    return compare_profiles(reference, window, **thresholds)


def test_equal_data_have_no_divergence():
    drift = compare(table(500), table(500))
    assert (drift.js_divergence, drift.status, drift.affected_features) == (0.0, "healthy", [])
    assert drift.details["x0.p"] > 0.9
    assert datetime.fromisoformat(drift.timestamp).tzinfo is not None


@pytest.mark.parametrize("in_bins", [True, False])
@pytest.mark.parametrize(
    ("shift", "status"), [(0.5, "healthy"), (1.0, "warning"), (2.0, "critical")]
)
def test_the_status_follows_the_size_of_a_shift(shift, status, in_bins):
    drift = compare(table(5000, 5), table(1000, 5, shift, seed=1), in_bins_of_reference=in_bins)
    assert drift.status == status
    assert drift.affected_features == ["x0"]
    assert ("watch" in drift.details) == (status == "healthy")
    assert drift.js_divergence == drift.details["x0.js"]
    assert 0 < drift.details["x0.js_debiased"] < drift.details["x0.js"]
    assert (drift.details["x0.n"], drift.details["x0.n_reference"]) == (1000, 5000)
    assert all(isinstance(value, float) for value in drift.details.values())


@pytest.mark.parametrize("rows", [100, 1000])
@pytest.mark.parametrize("reference_rows", [100, 10_000])
def test_without_drift_hardly_a_window_is_remarked_and_none_warns(rows, reference_rows):
    windows = 40
    drifts = [
        compare(table(reference_rows, 10, seed=n), table(rows, 10, seed=1000 + n))
        for n in range(windows)
    ]
    assert {drift.status for drift in drifts} == {"healthy"}
    assert sum(bool(drift.affected_features) for drift in drifts) <= 3
    p_values = [value for d in drifts for key, value in d.details.items() if key.endswith(".p")]
    assert np.mean(np.array(p_values) < 0.05) < 0.1


@pytest.mark.parametrize("reference_rows", [1000, 10_000])
def test_a_shift_of_a_fifth_of_a_deviation_is_found(reference_rows):
    found = sum(
        bool(
            compare(
                table(reference_rows, seed=n), table(1000, shift=0.2, seed=1000 + n)
            ).affected_features
        )
        for n in range(60)
    )
    assert found >= 54


def test_a_change_of_the_spread_alone_is_found():
    wide = table(1000, seed=1) * 1.5
    assert compare(table(5000), wide).affected_features == ["x0"]


@pytest.mark.parametrize(
    ("thresholds", "status"),
    [({"warning": 0.0}, "warning"), ({"warning": 0, "critical": 0}, "critical")],
)
def test_at_the_threshold_counts_as_over_it(thresholds, status):
    left, right = table(5000), table(1000, shift=0.5, seed=1)
    exact = compare(left, right).details["x0.js_debiased"]
    assert compare(left, right, **thresholds).status == status
    assert compare(left, right, warning=exact).status == "warning"
    assert compare(left, right, warning=exact, critical=exact).status == "critical"
    assert compare(left, right, warning=np.nextafter(exact, 1)).status == "healthy"


@pytest.mark.parametrize("thresholds", [{"warning": 0.3}, {"warning": -1}, {"critical": 0.05}])
def test_thresholds_out_of_order_are_refused(thresholds):
    with pytest.raises(ValueError, match="0 <= warning <= critical"):
        compare(table(200), table(200), **thresholds)


@pytest.mark.parametrize("rows", [(MIN_ROWS - 1, 5000), (5000, MIN_ROWS - 1), (1, 1)])
def test_too_few_rows_are_no_verdict(rows):
    drift = compare(table(rows[0]), table(rows[1], shift=9))
    assert (drift.status, drift.affected_features) == ("healthy", [])
    assert drift.details["insufficient_rows"] == 1.0
    assert drift.js_divergence > 0.5
    assert "insufficient_rows" not in compare(table(MIN_ROWS), table(MIN_ROWS)).details


def test_values_beyond_all_of_the_reference_count_in_full():
    drift = compare(table(5000), table(200) + 100)
    assert drift.js_divergence == pytest.approx(1.0)
    assert drift.status == "critical"


def test_categories_that_the_reference_never_saw_count_in_full():
    left = {"city": np.array(["Rome", "Oslo"] * 500, dtype=object)}
    right = {"city": np.array(["Lima", "Bonn"] * 100, dtype=object)}
    drift = compare(left, right)
    assert drift.js_divergence == pytest.approx(1.0)
    some = {"city": np.array(["Rome", "Oslo", "Rome", "Oslo", "Lima"] * 40, dtype=object)}
    drift = compare(left, some)
    assert drift.js_divergence == pytest.approx(0.108, abs=0.001)  # by hand: 1/5 unseen
    assert drift.affected_features == ["city"]


def test_a_few_rows_of_a_new_category_among_many_rare_ones_are_found():
    generator = np.random.default_rng(0)
    left = {"city": np.array([f"c{n}" for n in generator.zipf(1.5, 20_000)], dtype=object)}
    right = {"city": np.array([f"c{n}" for n in generator.zipf(1.5, 300)] + ["new"] * 12)}
    assert compare(left, {"city": right["city"][:300]}).affected_features == []
    assert compare(left, right).affected_features == ["city"]


def test_rows_that_go_missing_are_drift():
    holes = table(500, 3, seed=1)
    holes[::4, 1] = np.nan
    drift = compare(table(5000, 3), holes)
    assert drift.affected_features == ["x1"]
    assert drift.details["x1.js"] == pytest.approx(0.14, abs=0.02)


def test_an_input_that_is_gone_is_critical_and_a_new_one_is_said():
    left = {"age": table(500)[:, 0], "label_size": table(500, seed=1)[:, 0]}
    right = {"age": table(500, seed=2)[:, 0], "depth": table(500, seed=3)[:, 0]}
    for in_bins in (True, False):
        drift = compare(left, right, in_bins_of_reference=in_bins)
        assert (drift.status, drift.affected_features) == ("critical", ["label_size"])
        assert drift.details["depth.new"] == 1.0
    assert drift.details["label_size.absent"] == 1.0


def test_labels_and_predictions_are_compared_where_both_have_them():
    generator = np.random.default_rng(0)
    left = {"x": table(800), "label": np.arange(800) % 2, "logits": generator.normal(size=(800, 3))}
    without = compare(left, {"x": table(400, seed=1)})
    assert (without.status, without.affected_features) == ("healthy", [])
    assert without.details["label.absent"] == 1.0
    sure = generator.normal(size=(400, 3)) * 5
    drift = compare(left, {"x": table(400, seed=1), "label": np.ones(400, int), "logits": sure})
    assert set(drift.affected_features) == {"label", "prediction.confidence", "prediction.entropy"}


@pytest.mark.parametrize("value", [0.0, -3.5, 1e300, float("inf"), float("nan")])
def test_a_constant_feature_is_healthy_until_it_changes(value):
    same = compare(np.full((300, 1), value), np.full((200, 1), value))
    assert (same.js_divergence, same.status) == (0.0, "healthy")
    other = compare(np.full((300, 1), value), np.full((200, 1), 7.0))
    assert other.js_divergence == pytest.approx(1.0)
    assert other.status == "critical"


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_a_feature_of_two_values_is_compared_exactly(share):
    generator = np.random.default_rng(0)
    left = (generator.random((5000, 1)) < share).astype(float)
    assert compare(left, (generator.random((500, 1)) < share) * 1.0).status == "healthy"
    assert compare(left, (generator.random((500, 1)) < 1 - share * 0.2) * 1.0).affected_features


def test_one_outlier_hides_nothing_and_is_nothing():
    spoilt = np.append(table(2000), [[1e15]], axis=0)
    assert compare(spoilt, table(500, seed=1)).status == "healthy"
    assert compare(spoilt, table(500, shift=2, seed=1)).status == "critical"
    assert compare(table(2000), np.append(table(500, seed=1), [[1e15]], axis=0)).status == "healthy"


def test_profiles_without_rows_are_refused():
    profile = profile_dataset(table(200), TABLE)
    with pytest.raises(ValueError, match="0 and 200 rows"):
        compare_profiles({**profile, "rows": 0}, profile)


def test_features_of_other_kinds_are_refused():
    left = profile_dataset({"age": table(200)[:, 0]}, TABLE)
    right = profile_dataset({"age": np.array(["old"] * 200)}, TABLE)
    with pytest.raises(ValueError, match="numeric in the reference and categorical"):
        compare_profiles(left, right)


def texts(rows, topic, seed=0):
    """Documents that repeat themselves: each draws from a few words of its own topic."""
    generator = np.random.default_rng(seed)
    words = 1 + np.arange(1999)
    shares = 1 / words
    documents = []
    for _ in range(rows):
        own = generator.choice(words, 12, p=shares / shares.sum()) * topic % 1999 + 1
        documents.append(generator.choice(own, generator.integers(20, 60)))
    return documents


def test_texts_that_repeat_themselves_are_no_drift_and_other_words_are():
    remarked = [
        compare(texts(600, 1, n), texts(200, 1, 100 + n), spec=TEXT).affected_features
        for n in range(15)
    ]
    assert sum(map(bool, remarked)) <= 1
    drift = compare(texts(600, 1), texts(200, 7, 1), spec=TEXT)
    assert drift.status == "critical"
    assert drift.affected_features[0] == "tokens"


def test_the_share_of_unknown_tokens_is_told():
    known, new = [np.arange(1, 100)] * 200, [np.arange(50, 150)] * 200
    drift = compare(known, new, spec=TEXT)
    assert drift.details["tokens.unknown_share"] == pytest.approx(0.5)
    assert compare(known, known, spec=TEXT).details["tokens.unknown_share"] == 0.0


def test_texts_without_a_token_differ_from_texts():
    empty, full = [np.zeros(0, int)] * 150, [np.arange(1, 20)] * 150
    drift = compare(full, empty, spec=TEXT)
    assert drift.status == "critical"
    assert drift.affected_features == ["length"]
    assert compare(empty, empty, spec=TEXT).status == "healthy"


def embeddings(rows, shift=0.0, width=32, seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, width)) + shift
    return {"x": np.zeros(rows), "embedding": values}


def test_embeddings_have_two_tests():
    remarked = 0
    for seed in range(15):
        drift = compare(embeddings(300, seed=seed), embeddings(300, seed=100 + seed))
        remarked += bool(drift.affected_features)
        assert drift.status == "healthy"
    assert remarked <= 1
    drift = compare(embeddings(900), embeddings(300, shift=0.5, seed=1))
    assert drift.affected_features == ["embedding"]
    assert drift.status == "critical"
    assert drift.details["embedding.mmd_p"] == pytest.approx(0.001)
    assert drift.details["embedding.classifier_p"] < 1e-6
    assert drift.details["embedding.mmd"] > 0


def test_embeddings_whose_mean_is_the_same_are_told_apart_by_the_kernel():
    left, right = embeddings(400), embeddings(400, seed=1)
    right["embedding"] = right["embedding"] * 1.3
    drift = compare(left, right)
    assert drift.details["embedding.mmd_p"] < 0.01
    assert drift.details["embedding.classifier_p"] > 0.01


def test_comparing_embeddings_twice_gives_the_same_numbers():
    left, right = embeddings(300), embeddings(200, seed=1, shift=0.1)
    assert compare(left, right).details == compare(left, right).details


def test_embeddings_that_say_nothing_are_no_drift():
    constant = {"x": np.zeros(200), "embedding": np.ones((200, 4))}
    assert compare(constant, constant).status == "healthy"
    few = {"x": np.zeros(5), "embedding": np.ones((5, 4))}
    assert compare(constant, few).details["embedding.p"] == 1.0
    some = [{"x": 0.0, "embedding": None if n % 2 else np.ones(4)} for n in range(300)]
    assert compare(constant, some).details["embedding.n"] == 150


def test_embeddings_of_another_width_are_refused():
    with pytest.raises(ValueError, match="32 values in one profile and 8 in the other"):
        compare(embeddings(200), embeddings(200, width=8))
