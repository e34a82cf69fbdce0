import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset as HuggingFaceDataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import BatchEncoding

from utils.training.engine.data import CollateError, LanguageModelingDataCollator
from utils.training.task_spec import TaskSpec

TASK = TaskSpec(name="prose", modality="text", max_seq_len=8)
CLASSES = TaskSpec.classification_tiny()


def collate(samples, task_spec=TASK, **options):
    return LanguageModelingDataCollator(task_spec=task_spec, **options)(samples)


def ids(*sequences):
    return [{"input_ids": list(sequence)} for sequence in sequences]


def test_the_batch_is_as_wide_as_its_longest_sample():
    batch = collate(ids([5, 6, 7], [8]))
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, -100, -100]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_the_padding_goes_to_the_side_of_the_task():
    left = TaskSpec(name="prose", padding_side="left", pad_token_id=9)
    batch = collate(ids([5, 6, 7], [8]), left)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert batch["labels"].tolist() == [[5, 6, 7], [-100, -100, 8]]


def test_a_tokenizer_gives_padding_side_and_length():
    tokenizer = SimpleNamespace(
        pad_token_id=3, eos_token_id=2, padding_side="left", model_max_length=4
    )
    batch = LanguageModelingDataCollator(tokenizer)(ids([5, 6, 7, 8, 9], [1]))
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [3, 3, 3, 1]]


def test_a_tokenizer_without_a_limit_limits_nothing():
    tokenizer = SimpleNamespace(pad_token_id=None, model_max_length=10**30)
    batch = LanguageModelingDataCollator(tokenizer)(ids(range(600), [1]))
    assert batch["input_ids"].shape == (2, 600)
    assert batch["attention_mask"].sum() == 601


def test_arguments_win_over_task_and_tokenizer():
    tokenizer = SimpleNamespace(pad_token_id=3, padding_side="right", model_max_length=9)
    collator = LanguageModelingDataCollator(
        tokenizer, TASK, max_seq_len=2, padding_side="left", pad_token_id=7
    )
    assert collator(ids([5, 6, 1], [4]))["input_ids"].tolist() == [[5, 6], [7, 4]]


def test_long_samples_lose_their_end_with_one_warning(caplog):
    collator = LanguageModelingDataCollator(task_spec=TASK)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            batch = collator(ids(range(1, 12), range(1, 10)))
    assert batch["input_ids"].shape == (2, 8)
    assert [record.message for record in caplog.records] == [
        "A sample has 11 tokens and max_seq_len is 8: this one and all longer ones lose their end."
    ]


def test_a_cut_sample_keeps_its_fields_aligned():
    sample = {
        "input_ids": range(1, 12),
        "attention_mask": [1] * 11,
        "labels": list(range(11)),
        "token_type_ids": [2] * 11,
        "scores": [0.5, 0.25],
    }
    batch = collate([{**sample, "input_ids": list(sample["input_ids"])}])
    assert batch["labels"].tolist() == [list(range(8))]
    assert batch["token_type_ids"].shape == batch["attention_mask"].shape == (1, 8)
    assert batch["scores"].tolist() == [[0.5, 0.25]]


def test_a_width_is_rounded_up_but_not_beyond_the_limit():
    narrow = collate(ids([1, 2, 3]), pad_to_multiple_of=4)
    assert narrow["input_ids"].tolist() == [[1, 2, 3, 0]]
    assert narrow["labels"].tolist() == [[1, 2, 3, -100]]
    wide = collate(ids(range(1, 8)), pad_to_multiple_of=5)
    assert wide["input_ids"].shape == (1, 8)


def test_given_labels_stay_and_are_padded():
    batch = collate([{"input_ids": [5, 6], "labels": [-100, 6]}, {"input_ids": [7], "labels": [7]}])
    assert batch["labels"].tolist() == [[-100, 6], [7, -100]]


@pytest.mark.parametrize("name", ["label", "labels", "label_ids"])
def test_labels_of_whole_sequences_stay_one_a_sample(name):
    samples = [{"input_ids": [5, 6], name: 1}, {"input_ids": [7], name: np.int32(0)}]
    batch = collate(samples, CLASSES)
    assert batch["labels"].tolist() == [1, 0]
    assert batch["labels"].dtype == torch.int64


def test_several_labels_a_sample_stay_together():
    samples = [{"input_ids": [5, 6], "labels": [1.0, 0.0, 1.0]}] * 2
    assert collate(samples, CLASSES)["labels"].shape == (2, 3)


def test_a_classification_task_makes_up_no_labels():
    assert "labels" not in collate(ids([5, 6]), CLASSES)


def test_a_given_mask_decides_what_is_padding():
    samples = [{"input_ids": [5, 0, 6, 0, 0], "attention_mask": [1, 1, 1, 1, 0]}]
    assert collate(samples)["labels"].tolist() == [[5, 0, 6, 0, -100]]


def test_a_sample_padded_without_a_mask_is_unpadded_at_its_end():
    batch = collate(ids([5, 0, 6, 0, 0], [0, 7, 8, 9, 4]))
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    left = TaskSpec(name="prose", padding_side="left")
    batch = collate(ids([0, 0, 5, 0, 6], [1, 2, 3, 4, 0]), left)
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_an_end_of_text_token_that_pads_too_still_counts():
    tokenizer = SimpleNamespace(pad_token_id=2, eos_token_id=2)
    batch = LanguageModelingDataCollator(tokenizer, TASK)(ids([5, 6, 2], [7, 2]))
    assert batch["labels"].tolist() == [[5, 6, 2], [7, 2, -100]]


def test_without_a_padding_id_every_token_counts():
    task = TaskSpec(name="prose", pad_token_id=None)
    assert collate(ids([5, 0, 0]), task)["labels"].tolist() == [[5, 0, 0]]


@pytest.mark.parametrize(
    "sample",
    [
        {"input_ids": torch.tensor([5, 6], dtype=torch.int32)},
        {"input_ids": np.array([5, 6])},
        BatchEncoding({"input_ids": [5, 6]}),
        torch.tensor([5, 6]),
        [5, 6],
        (torch.tensor([5, 6]),),
        {"input_ids": [5, 6], "text": "two words", "source": None},
    ],
)
def test_any_form_of_a_sample_will_do(sample):
    batch = collate([sample, sample])
    assert batch["input_ids"].tolist() == [[5, 6], [5, 6]]
    assert sorted(batch) == ["attention_mask", "input_ids", "labels"]


def test_a_tuple_is_ids_and_label():
    batch = collate([(torch.tensor([5, 6]), 1), (torch.tensor([7]), 0)], CLASSES)
    assert batch["labels"].tolist() == [1, 0]


def test_rows_of_a_hugging_face_dataset_will_do():
    data = HuggingFaceDataset.from_dict({"input_ids": [[1, 2], [3]], "text": ["a b", "c"]})
    for rows in (data, data.with_format("torch", columns=["input_ids"])):
        assert collate(rows.__getitems__([1, 0]))["input_ids"].tolist() == [[3, 0], [1, 2]]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no samples to collate"),
        (ids([], []), "All samples of the batch are empty"),
        ([{"text": "words"}], "Sample 0 of the batch has no 'input_ids', only text"),
        (
            [{"input_ids": [1]}, {"input_ids": [1], "labels": [1]}],
            "Sample 1 of the batch has the keys",
        ),
        ([{"input_ids": [0.5]}], "is a torch.float32 of shape"),
        ([{"input_ids": [[1, 2]]}], r"of shape \[1, 2\], allowed are whole numbers \[seq\]"),
        ([{"input_ids": [1, 2], "labels": [1]}], r"'labels' of sample 0 has the shape \[1\]"),
        ([{"input_ids": [1, 2], "attention_mask": [1]}], "'attention_mask' of sample 0"),
        ([{"input_ids": [1], "x": [1, 2]}, {"input_ids": [1], "x": [1]}], r"shape \[1\] and"),
        ([(1, 2, 3)], "a tuple of 3 items, allowed are input_ids and a label"),
        ([{"input_ids": ["a"]}], "'input_ids' is a list, which makes no tensor"),
    ],
)
def test_what_makes_no_batch_is_named(samples, message):
    with pytest.raises(CollateError, match=message):
        collate(samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding_side": "top"}, "padding_side is 'top', allowed are 'left' and 'right'"),
        ({"max_seq_len": 0}, "max_seq_len is 0, allowed is 1 or more"),
        ({"pad_to_multiple_of": -8}, "pad_to_multiple_of is -8, allowed is 1 or more"),
    ],
)
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelingDataCollator(**options)


def test_arrays_need_not_be_writable_or_in_order():
    read_only = np.arange(1, 4)
    read_only.flags.writeable = False
    batch = collate([{"input_ids": read_only}, {"input_ids": np.arange(1, 4)[::-1]}])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [3, 2, 1]]


def test_an_empty_sample_among_others_is_all_padding():
    batch = collate(ids([], [5, 6]))
    assert batch["attention_mask"].tolist() == [[0, 0], [1, 1]]
    assert batch["labels"].tolist() == [[-100, -100], [5, 6]]


@given(
    sequences=st.lists(st.lists(st.integers(1, 500), max_size=20), min_size=1, max_size=6),
    limit=st.integers(1, 12),
    side=st.sampled_from(["left", "right"]),
    multiple=st.sampled_from([None, 1, 4, 8]),
)
def test_every_token_within_the_limit_is_kept_once(sequences, limit, side, multiple):
    collator = LanguageModelingDataCollator(
        task_spec=TaskSpec(name="any", max_seq_len=limit),
        padding_side=side,
        pad_to_multiple_of=multiple,
    )
    if not any(sequences):
        with pytest.raises(CollateError):
            collator(ids(*sequences))
        return
    batch = collator(ids(*sequences))
    own_labels = [{"input_ids": row, "labels": row, "flags": row} for row in sequences]
    labelled = collator(own_labels)
    assert torch.equal(labelled["labels"], batch["labels"])
    assert torch.equal(labelled["flags"], batch["labels"].clamp(min=0))
    width = batch["input_ids"].shape[1]
    assert width <= limit
    assert width >= min(limit, max(map(len, sequences)))
    for row, mask, labels, given_ids in zip(*batch_rows(batch), sequences, strict=True):
        kept = given_ids[:limit]
        assert row[mask.bool()].tolist() == labels[mask.bool()].tolist() == kept
        assert (labels[~mask.bool()] == -100).all()
        edge = mask.flip(0) if side == "left" else mask
        assert edge.tolist() == [1] * len(kept) + [0] * (width - len(kept))


def batch_rows(batch):
    return batch["input_ids"], batch["attention_mask"], batch["labels"]
