from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils.training.engine.data import CollateError, DefaultCollator

collate = DefaultCollator()


def test_mappings_are_stacked_field_by_field():
    samples = [
        {"x": torch.ones(2), "y": np.zeros(3), "n": [1, 2], "label": 1, "name": "a", "none": None},
        {"x": torch.zeros(2), "y": np.ones(3), "n": [3, 4], "label": 0, "name": "b", "none": None},
    ]
    batch = collate(samples)
    assert sorted(batch) == ["labels", "n", "x", "y"]
    assert batch["labels"].tolist() == [1, 0]
    assert batch["n"].tolist() == [[1, 2], [3, 4]]


def test_a_label_of_several_values_is_stacked_too():
    batch = collate([{"x": 1, "label": torch.tensor([1.0, 0.0]), "name": "a"}] * 2)
    assert batch["labels"].tolist() == [[1, 0], [1, 0]]
    assert sorted(batch) == ["labels", "x"]


def test_objects_with_attributes_are_mappings_too():
    assert collate([SimpleNamespace(x=1.5), SimpleNamespace(x=2.5)])["x"].tolist() == [1.5, 2.5]


def test_tuples_give_a_tuple():
    inputs, labels = collate([(torch.ones(2), 1), (torch.zeros(2), 0)])
    assert inputs.tolist() == [[1, 1], [0, 0]]
    assert labels.tolist() == [1, 0]


def test_tensors_and_numbers_give_one_tensor():
    assert collate([torch.ones(2), torch.zeros(2)]).shape == (2, 2)
    assert collate([1, 2]).tolist() == [1, 2]
    assert collate([np.ones(2), np.ones(2)]).shape == (2, 2)


def test_fields_batched_already_pass_through():
    inputs, labels = torch.ones(3, 2), torch.zeros(3)
    assert collate.from_columns([inputs, labels]) == (inputs, labels)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no samples to collate"),
        ([{"x": torch.ones(2)}, {"x": torch.ones(3)}], r"'x' of sample 1 has the shape \[3\]"),
        ([{"x": [1, 2]}, {"x": [1]}], r"'x' of sample 1 has the shape \[1\] and of sample 0 \[2\]"),
        ([{"x": 1}, {"y": 1}], "Sample 1 of the batch has the keys y and sample 0 has x"),
        ([(torch.ones(2), 1), (torch.ones(3), 1)], r"'item 0' of sample 1 has the shape \[3\]"),
        ([(1, 2), (1, 2, 3)], "Sample 1 of the batch has 3 items and sample 0 has 2"),
        (["words"], "'the sample' is 'words', which makes no tensor"),
        ([{"x": {"deep": 1}}], "'x' is a dict, which makes no tensor"),
    ],
)
def test_what_makes_no_batch_is_named(samples, message):
    with pytest.raises(CollateError, match=message):
        collate(samples)


@given(st.lists(st.lists(st.floats(-1, 1, width=32), max_size=4), max_size=5))
def test_lists_of_any_lengths_are_stacked_or_refused(rows):
    samples = [{"x": torch.tensor(row)} for row in rows]
    if rows and len({len(row) for row in rows}) == 1:
        assert collate(samples)["x"].tolist() == rows
    else:
        with pytest.raises(CollateError):
            collate(samples)
