from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageColumn
from PIL import Image
from torch.utils.data import TensorDataset

from utils.training.drift_metrics import (
    DatasetProfiler,
    compare_profiles,
    merge_profiles,
    profile_columns,
    profile_dataset,
)
from utils.training.task_spec import TaskSpec

TABLE = TaskSpec(name="cells", modality="tabular", feature_names=("age", "size"), num_classes=2)
TEXT = TaskSpec.classification_tiny()
IMAGES = TaskSpec.vision_tiny()
GENERATOR = np.random.default_rng(11)
AGES = GENERATOR.normal(50, 10, 500)
SIZES = GENERATOR.gamma(2, 3, 500)


def features(profile):
    return profile["features"]


def rows_of(feature):
    counts = feature["sketch"]["counts"] if "sketch" in feature else feature["counts"]
    return sum(counts) + feature["missing"]


TABLES = {
    "array": lambda: np.stack([AGES, SIZES], axis=1),
    "fortran array": lambda: np.asfortranarray(np.stack([AGES, SIZES], axis=1)),
    "tensor": lambda: torch.tensor(np.stack([AGES, SIZES], axis=1)),
    "mapping": lambda: {"age": AGES, "size": SIZES},
    "mapping of lists": lambda: {"age": AGES.tolist(), "size": SIZES.tolist()},
    "data frame": lambda: pd.DataFrame({"age": AGES, "size": SIZES}),
    "arrow table": lambda: pa.table({"age": AGES, "size": SIZES}),
    "hugging face": lambda: Dataset.from_dict({"age": AGES, "size": SIZES}),
    "mappings": lambda: [{"age": a, "size": s} for a, s in zip(AGES, SIZES, strict=True)],
    "vectors": lambda: [{"features": row} for row in np.stack([AGES, SIZES], axis=1)],
    "hugging face vectors": lambda: Dataset.from_dict(
        {"features": np.stack([AGES, SIZES], axis=1)}
    ),
    "lists": lambda: np.stack([AGES, SIZES], axis=1).tolist(),
    "tuples": lambda: list(map(tuple, np.stack([AGES, SIZES], axis=1).tolist())),
    "generator": lambda: iter([{"age": a, "size": s} for a, s in zip(AGES, SIZES, strict=True)]),
    "tensor data set": lambda: TensorDataset(torch.tensor(np.stack([AGES, SIZES], axis=1))),
}


@pytest.mark.parametrize("form", TABLES)
def test_every_form_of_a_table_has_one_profile(form):
    assert profile_dataset(TABLES[form](), TABLE) == profile_dataset(TABLES["array"](), TABLE)


@pytest.mark.parametrize("form", ["array", "data frame", "hugging face", "mappings"])
def test_a_sample_of_rows_is_spread_over_the_data(form):
    table = {"age": np.arange(1000.0), "size": np.zeros(1000)}
    forms = {
        "array": np.stack(list(table.values()), axis=1),
        "data frame": pd.DataFrame(table),
        "hugging face": Dataset.from_dict(table),
        "mappings": [{"age": a, "size": 0.0} for a in table["age"]],
    }
    profile = profile_dataset(forms[form], TABLE, max_samples=100)
    assert profile["rows"] == 100
    edges = features(profile)["age"]["edges"]
    assert (edges[0], edges[-1]) == (0.0, pytest.approx(990))
    assert profile_dataset(forms[form], TABLE, max_samples=5000)["rows"] == 1000


def test_the_first_rows_of_a_stream_are_taken():
    profile = profile_dataset(({"age": float(n)} for n in range(1000)), TABLE, max_samples=10)
    assert (profile["rows"], features(profile)["age"]["edges"][-1]) == (10, pytest.approx(9))


def test_a_profile_is_plain_bounded_json():
    sizes = []
    for rows in (2_000, 200_000):
        table = {f"x{n}": np.random.default_rng(n).normal(size=rows) for n in range(5)}
        text = json.dumps(profile_dataset(table, TABLE), allow_nan=False)
        assert json.loads(text) == profile_dataset(table, TABLE)
        sizes.append(len(text))
    assert sizes[1] < 2 * sizes[0] < 100_000


@pytest.mark.parametrize("with_reference", [False, True])
def test_a_merge_of_a_thousand_shards_equals_one_pass(with_reference):
    generator = np.random.default_rng(1)
    table = {
        "age": generator.normal(size=20_000),
        "size": generator.integers(0, 9, 20_000).astype(float),
        "city": generator.choice(["Rome", "Oslo", "Lima"], 20_000).astype(object),
        "label": generator.integers(0, 2, 20_000),
        "embedding": generator.normal(size=(20_000, 8)),
    }
    table["age"][::97] = np.nan
    table["city"][::89] = None
    reference = profile_dataset(table, TABLE) if with_reference else None
    whole = profile_dataset(table, TABLE, reference=reference)
    cuts = np.sort(generator.choice(np.arange(1, 20_000), 999, replace=False))
    shards = [
        {name: values[start:end] for name, values in table.items()}
        for start, end in zip([0, *cuts], [*cuts, 20_000], strict=True)
    ]
    assert len(shards) == 1000
    merged = profile_dataset(shards[0], TABLE, reference=reference)
    for shard in shards[1:]:
        merged = merge_profiles(merged, profile_dataset(shard, TABLE, reference=reference))
    assert merged == whole


def test_a_feature_that_a_shard_lacks_is_missing_in_its_rows():
    left = profile_dataset({"age": AGES}, TABLE)
    right = profile_dataset({"size": SIZES, "label": np.ones(500, int)}, TABLE)
    merged = merge_profiles(left, right)
    assert merged == merge_profiles(right, left)
    assert features(merged)["age"]["missing"] == features(merged)["size"]["missing"] == 500
    assert rows_of(features(merged)["label"]) == 500
    profiler = DatasetProfiler(TABLE)
    profiler.update({"age": AGES})
    profiler.update({"size": SIZES, "label": np.ones(500, int)})
    assert profiler.result() == merged


@pytest.mark.parametrize(
    ("values", "missing", "kind"),
    [
        ([1.0, None, float("nan"), 4], 2, "numeric"),
        ([1, 2, 3, 4], 0, "numeric"),
        (["a", None, "b", "a"], 1, "categorical"),
        ([True, False, None, True], 1, "categorical"),
        ([float("inf"), -float("inf"), 0.0, 1.0], 0, "numeric"),
        ([None, None, None, None], 4, "categorical"),
        ([{"a": 1}, "b", None, None], 2, None),
    ],
)
def test_missing_and_infinite_values(values, missing, kind):
    frame = pd.DataFrame({"age": pd.Series(values, dtype=object)})
    samples = [{"age": value} for value in values]
    profile = profile_dataset(samples, TABLE)
    if kind is None:
        assert features(profile) == {}
        return
    assert features(profile)["age"]["missing"] == missing
    assert features(profile)["age"]["kind"] == kind
    assert rows_of(features(profile)["age"]) == 4
    assert profile_dataset(frame, TABLE) == profile


def test_nullable_columns_and_times_of_data_frames():
    frame = pd.DataFrame(
        {
            "count": pd.Series([1, None, 3], dtype="Int64"),
            "at": pd.to_datetime(["2026-01-01", None, "2026-01-03"], utc=True),
            "kind": pd.Categorical(["a", "b", None]),
            "name": pd.Series(["x", None, "y"], dtype="string"),
        }
    )
    found = features(profile_dataset(frame, TABLE))
    kinds = {name: (feature["kind"], feature["missing"]) for name, feature in found.items()}
    assert kinds == {
        "count": ("numeric", 1),
        "at": ("numeric", 1),
        "kind": ("categorical", 1),
        "name": ("categorical", 1),
    }
    assert found["at"]["edges"][0] == pd.Timestamp("2026-01-01").timestamp()


def test_a_window_reads_values_as_the_kinds_of_its_reference():
    reference = profile_dataset({"age": AGES, "label": np.arange(500) % 2}, TABLE)
    dirty = [{"age": "41.5", "label": 1.0}, {"age": "unknown", "label": 0}, {"age": 3, "label": 1}]
    window = profile_dataset(dirty, TABLE, reference=reference)
    assert features(window)["age"]["missing"] == 1
    assert sum(features(window)["age"]["cells"]) == 2
    assert dict(
        zip(features(window)["label"]["names"], features(window)["label"]["counts"], strict=True)
    ) == {"0": 1, "1": 2}


def test_shards_of_other_kinds_are_refused():
    left = profile_dataset({"age": AGES}, TABLE)
    right = profile_dataset([{"age": "old"}], TABLE)
    with pytest.raises(ValueError, match="'age' is numeric in one profile and categorical"):
        merge_profiles(left, right)


def test_labels_of_every_form():
    amounts = TaskSpec(name="price", modality="tabular", task_type="regression")
    x = np.zeros((4, 1))
    kinds = {
        "classes": features(profile_dataset({"x": x, "y": np.array([0, 1, 1, 0])}, TABLE)),
        "amounts": features(profile_dataset({"x": x, "y": np.array([1, 2, 3, 4])}, amounts)),
        "pairs": features(profile_dataset([(np.zeros(2), 1), (np.zeros(2), 0)], TABLE)),
        "columns": features(profile_dataset({"x": x, "target": np.array([[0.5]] * 4)}, TABLE)),
    }
    assert {name: found["label"]["kind"] for name, found in kinds.items()} == {
        "classes": "categorical",
        "amounts": "numeric",
        "pairs": "categorical",
        "columns": "numeric",
    }
    many = profile_dataset({"x": x, "labels": np.zeros((4, 3))}, TABLE)
    assert "label" not in features(many)


@pytest.mark.parametrize(
    "dataset", [[], np.zeros((0, 2)), {}, {"age": []}, pd.DataFrame(), iter(())]
)
def test_an_empty_data_set_is_refused(dataset):
    with pytest.raises(ValueError, match="empty"):
        profile_dataset(dataset, TABLE)


def test_what_can_not_be_read_is_refused():
    with pytest.raises(ValueError, match="is a int; give"):
        profile_dataset(7, TABLE)
    with pytest.raises(ValueError, match="max_samples is 0"):
        profile_dataset(AGES[:, None], TABLE, max_samples=0)
    with pytest.raises(ValueError, match="tuple of 3 items"):
        profile_dataset([(AGES, 1, "x")], TABLE)
    with pytest.raises(ValueError, match="different lengths"):
        DatasetProfiler(TABLE).update({"age": AGES, "size": SIZES[:3]})
    with pytest.raises(ValueError, match="has the shape"):
        profile_dataset([{"image": np.zeros(7)}], IMAGES)


def test_texts_are_lengths_and_tokens_without_padding():
    ids = np.array([[5, 6, 7, 0, 0], [5, 5, 0, 0, 0]])
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]])
    plain = profile_dataset({"input_ids": ids}, TEXT)
    assert features(plain)["tokens"]["counts"] == [3, 1, 1]
    assert features(plain)["length"]["sketch"]["counts"] == [1, 1]
    masked = profile_dataset({"input_ids": ids, "attention_mask": mask}, TEXT)
    assert features(masked)["tokens"]["counts"] == [1, 3, 1, 1]
    samples = [
        {"input_ids": torch.tensor(row), "attention_mask": torch.tensor(m), "labels": 1}
        for row, m in zip(ids, mask, strict=True)
    ]
    assert features(profile_dataset(samples, TEXT))["tokens"] == features(masked)["tokens"]
    ragged = Dataset.from_dict({"input_ids": [[5, 6, 7], [5, 5]], "labels": [0, 1]})
    assert features(profile_dataset(ragged, TEXT))["tokens"] == features(plain)["tokens"]


def test_raw_texts_are_counted_by_word_whatever_their_form():
    texts = ["The mill, the mill!", "A wheel", None]
    profile = profile_dataset([{"text": text} for text in texts], TEXT)
    assert sum(features(profile)["tokens"]["counts"]) == 8
    assert sorted(features(profile)["tokens"]["counts"])[-2:] == [2, 2]
    assert features(profile)["length"]["missing"] == 1
    assert profile_dataset(texts, TEXT) == profile
    words = [["the", "mill", ",", "the", "mill", "!"], ["a", "wheel"], None]
    assert profile_dataset([{"tokens": w} for w in words], TEXT) == profile


def test_images_of_every_layout_have_one_profile():
    images = np.random.default_rng(0).integers(0, 255, (6, 3, 8, 10))
    first = features(profile_dataset({"pixel_values": images}, IMAGES))
    last = features(profile_dataset({"image": np.moveaxis(images, 1, -1)}, IMAGES))
    assert first == last
    assert set(first) == {"brightness", "contrast", "height", "width"} | {
        f"channel_{n}.{what}" for n in range(3) for what in ("mean", "std")
    }
    assert first["height"]["edges"][0] == 8.0
    assert first["brightness"]["edges"][0] == pytest.approx(images.mean(axis=(1, 2, 3)).min())
    grey = features(profile_dataset([(images[0, 0], 3), (images[0, 1], 2)], IMAGES))
    assert {"label", "channel_0.mean"} <= set(grey)
    assert "channel_1.mean" not in grey
    tensors = [{"pixel_values": torch.tensor(image).bfloat16()} for image in images]
    assert features(profile_dataset(tensors, IMAGES))["width"] == first["width"]


def test_images_of_hugging_face_are_decoded():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    source = {"image": [Image.fromarray(image) for image in pixels], "label": [0, 1, 0, 1, 1]}
    dataset = Dataset.from_dict(source).cast_column("image", ImageColumn())
    found = profile_dataset(dataset, IMAGES)
    assert found == profile_dataset({"image": pixels, "label": np.array(source["label"])}, IMAGES)
    pairs = list(zip(source["image"], source["label"], strict=True))
    assert profile_dataset(pairs, IMAGES) == found


def test_an_image_that_is_none_is_missing():
    images = [{"image": np.zeros((3, 4, 4))}, {"image": None}]
    assert features(profile_dataset(images, IMAGES))["brightness"]["missing"] == 1


def test_predictions_are_confidence_entropy_and_class():
    logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    found = features(profile_dataset({"logits": logits}, TABLE))
    same = features(profile_dataset({"probabilities": np.exp(logits)}, TABLE))
    assert found["prediction.class"] == same["prediction.class"]
    assert found["prediction.confidence"]["edges"][0] == pytest.approx(0.7)
    entropy = -(np.exp(logits[1]) * logits[1]).sum()
    assert found["prediction.entropy"]["edges"][0] == pytest.approx(entropy)
    unknown = features(profile_dataset({"probabilities": np.array([[0.0, 0.0], [1, 3]])}, TABLE))
    assert {feature["missing"] for feature in unknown.values()} == {1}


def test_a_profile_of_another_version_is_refused():
    profile = profile_dataset({"age": AGES}, TABLE)
    with pytest.raises(ValueError, match="version is 0"):
        compare_profiles({**profile, "version": 0}, profile)
    with pytest.raises(ValueError, match="version is None"):
        merge_profiles(profile, [])


def test_profiles_of_other_modalities_do_not_mix():
    table, text = profile_dataset({"age": AGES}, TABLE), profile_dataset(["a b"], TEXT)
    with pytest.raises(ValueError, match="tabular and text"):
        merge_profiles(table, text)
    with pytest.raises(ValueError, match="tabular and text"):
        compare_profiles(table, text)
    with pytest.raises(ValueError, match="profile of tabular data and the task is text"):
        DatasetProfiler(TEXT, reference=table)


def test_columns_that_are_ready_make_the_profile_that_their_data_make():
    reference = profile_dataset({"age": AGES, "size": SIZES}, TABLE)
    window = {"age": AGES[:200] + 3, "size": SIZES[:200]}
    expected = profile_dataset(window, TABLE, reference=reference)
    columns = {name: values.tolist() for name, values in window.items()}
    assert profile_columns(columns, reference) == expected


@pytest.mark.parametrize("columns", [{}, {"age": []}, {"age": [1], "size": [1, 2]}, {"x": [1]}])
def test_columns_that_are_no_window_of_the_reference_are_refused(columns):
    reference = profile_dataset({"age": AGES, "size": SIZES}, TABLE)
    with pytest.raises(ValueError, match="give features of the reference"):
        profile_columns(columns, reference)
