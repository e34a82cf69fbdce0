"""Confidence and calibration, held against torchmetrics, SciPy and plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from utils.training.engine.metrics import confidence as module
from utils.training.engine.metrics.confidence import ConfidenceAccumulator, compute_confidence


def random_batch(*shape, classes=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(*shape, classes, generator=generator)
    return logits, torch.randint(0, classes, shape, generator=generator)


def oracle(logits, labels):
    """Top-1, top-5, entropy and calibration error of rows [n, classes]."""
    probabilities = softmax(logits.double().numpy(), axis=-1)
    top = np.sort(probabilities, axis=-1)[:, ::-1]
    error = multiclass_calibration_error(
        torch.from_numpy(probabilities), labels, logits.shape[-1], n_bins=15, norm="l1"
    )
    return (
        top[:, 0].mean(),
        top[:, :5].sum(axis=1).mean(),
        scipy_entropy(probabilities, axis=-1).mean(),
        float(error),
    )


def values(found):
    return (
        found.top1_confidence,
        found.top5_confidence,
        found.entropy,
        found.calibration_error,
    )


@pytest.mark.parametrize("classes", [2, 4, 5, 10, 1000])
def test_rows_agree_with_the_oracles(classes):
    logits, labels = random_batch(300, classes=classes)
    found = compute_confidence(logits, labels)
    assert values(found) == pytest.approx(oracle(logits, labels), abs=1e-5)
    assert found.num_samples == 300


def test_batches_add_up_to_one_pass():
    logits, labels = random_batch(300)
    accumulator = ConfidenceAccumulator()
    for part, targets in zip(logits.split(7), labels.split(7), strict=True):
        accumulator.update(part, targets)
    assert values(accumulator.compute()) == pytest.approx(
        values(compute_confidence(logits, labels))
    )


def test_chunks_make_no_difference(monkeypatch):
    logits, labels = random_batch(13, 9)
    whole = compute_confidence(logits, labels)
    monkeypatch.setattr(module, "_CHUNK_VALUES", 35)
    assert values(compute_confidence(logits, labels)) == pytest.approx(values(whole))
    strided = torch.cat([logits, logits], dim=1)[:, :9]
    assert values(compute_confidence(strided, labels)) == pytest.approx(values(whole))


def test_ignored_labels_and_masked_positions_do_not_count():
    logits, labels = random_batch(4, 6)
    mask = torch.ones(4, 6, dtype=torch.long)
    mask[:, 4:] = 0
    labels[0, 0] = -100
    counts = mask.bool() & (labels != -100)
    logits[~counts] = math.nan  # what doesn't count can't spoil what does
    found = compute_confidence(logits, labels, attention_mask=mask)
    assert found.num_samples == int(counts.sum())
    assert values(found) == pytest.approx(oracle(logits[counts], labels[counts]), abs=1e-5)


def test_the_padding_id_counts_only_where_no_mask_tells():
    logits, labels = random_batch(4, 6)
    zeros = int((labels == 0).sum())
    assert zeros
    assert compute_confidence(logits, labels, pad_token_id=0).num_samples == 24 - zeros
    mask = torch.ones(4, 6)
    assert compute_confidence(logits, labels, mask, pad_token_id=0).num_samples == 24


def test_class_zero_of_a_classifier_is_not_padding():
    logits, labels = random_batch(50)
    assert compute_confidence(logits, labels, pad_token_id=0).num_samples == 50


def test_a_causal_model_is_held_against_the_next_token():
    logits, labels = random_batch(3, 8)
    found = compute_confidence(logits, labels, shift_labels=True)
    expected = oracle(logits[:, :-1].reshape(-1, 10), labels[:, 1:].reshape(-1))
    assert values(found) == pytest.approx(expected, abs=1e-5)
    assert found.num_samples == 21


def test_one_label_a_sequence_belongs_to_the_last_real_position():
    logits, _ = random_batch(3, 5)
    labels = torch.tensor([1, 2, 3])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]])
    last = torch.stack([logits[0, 4], logits[1, 1], logits[2, 3]])
    found = compute_confidence(logits, labels, attention_mask=mask)
    assert values(found) == pytest.approx(oracle(last, labels), abs=1e-5)
    unmasked = compute_confidence(logits, labels)
    assert values(unmasked) == pytest.approx(oracle(logits[:, -1], labels), abs=1e-5)


def test_images_of_classes_count_by_pixel():
    logits, labels = random_batch(2, 3, 4)
    found = compute_confidence(logits.movedim(-1, 1), labels)
    expected = oracle(logits.reshape(-1, 10), labels.reshape(-1))
    assert values(found) == pytest.approx(expected, abs=1e-5)


def test_without_labels_there_is_no_calibration_error():
    logits, _ = random_batch(20)
    found = compute_confidence(logits)
    assert found.calibration_error is None
    assert found.num_samples == 20


def test_certainty_and_its_opposite():
    sure = torch.full((4, 3), -math.inf)
    sure[:, 1] = 0.0
    found = compute_confidence(sure, torch.tensor([1, 1, 1, 0]))
    assert values(found) == pytest.approx((1.0, 1.0, 0.0, 0.25))
    unsure = compute_confidence(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))
    assert unsure.entropy == pytest.approx(math.log(3))
    assert unsure.top1_confidence == pytest.approx(1 / 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_taken_as_they_are(dtype):
    logits, labels = random_batch(200)
    found = compute_confidence(logits.to(dtype), labels)
    assert values(found) == pytest.approx(oracle(logits, labels), abs=2e-2)


def test_nothing_to_count_is_nan_and_no_error():
    nothing = compute_confidence(torch.zeros(2, 3), torch.tensor([-100, -100]))
    assert nothing.num_samples == 0
    assert math.isnan(nothing.top1_confidence)
    assert nothing.calibration_error is None
    assert ConfidenceAccumulator().compute().num_samples == 0


def test_nan_logits_are_nan_and_no_error():
    found = compute_confidence(torch.full((2, 3), math.nan), torch.tensor([0, 1]))
    assert math.isnan(found.entropy)


def test_no_graph_is_built():
    logits, labels = random_batch(5)
    logits.requires_grad_(requires_grad=True)
    accumulator = ConfidenceAccumulator()
    accumulator.update(logits, labels)
    assert not accumulator._sums.requires_grad


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"labels has shape \[3\] .* positions \[4\]"):
        compute_confidence(torch.zeros(4, 2), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="attention_mask has shape"):
        compute_confidence(
            torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 3)
        )
