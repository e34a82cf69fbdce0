"""An epoch's running sums."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from utils.training.engine.epoch_sums import MAX_WAITING, MAX_WAITING_VALUES, EpochSums
from utils.training.engine.loss import LossTerms


def terms(loss, items, correct, predictions=None, classes=2):
    """A batch whose mean loss over so many items is ``loss``; zero predictions are no accuracy."""
    count = items if predictions is None else predictions
    total, num_items = torch.tensor(loss * items), torch.tensor(items)
    if not count:
        return LossTerms(total, num_items)
    predicted = (torch.arange(count) >= correct).long()  # the first ones are right
    logits = nn.functional.one_hot(predicted, classes).float()
    return LossTerms(total, num_items, logits, torch.zeros(count, dtype=torch.long))


def filled():
    sums = EpochSums()
    sums.add(terms(1.0, 10, 5), num_samples=2)
    sums.add(terms(4.0, 30, 30), num_samples=2)
    sums.commit()
    sums.seconds = 2.0
    return sums


def test_every_item_weighs_alike():
    result = filled().result(epoch=3, learning_rate=0.1)
    assert result.avg_loss == pytest.approx((10 * 1.0 + 30 * 4.0) / 40)
    assert result.avg_accuracy == pytest.approx(35 / 40)
    assert (result.epoch, result.batch_count, result.sample_count) == (3, 2, 4)
    assert result.item_count == 40
    assert result.items_per_second == 20.0


def test_a_skipped_step_counts_its_batches_but_not_their_loss():
    sums = filled()
    sums.add(terms(math.nan, 10, 0), num_samples=2)
    sums.discard()
    result = sums.result(epoch=0)
    assert result.avg_loss == pytest.approx(3.25)
    assert (result.batch_count, result.skipped_steps) == (3, 1)


def test_a_task_without_accuracy_has_nan():
    sums = EpochSums()
    sums.add(terms(1.0, 4, 0, predictions=0), num_samples=4)
    sums.commit()
    assert math.isnan(sums.result(epoch=0).avg_accuracy)


def test_an_empty_epoch_has_no_averages():
    result = EpochSums().result(epoch=0)
    assert math.isnan(result.avg_loss)
    assert result.samples_per_second == 0.0


def test_intervals_are_means_since_the_last_one():
    sums = filled()
    assert sums.interval() == pytest.approx((3.25, 35 / 40, 20.0))
    sums.add(terms(2.0, 8, 4), num_samples=1)
    sums.commit()
    sums.seconds = 3.0
    assert sums.interval() == pytest.approx((2.0, 0.5, 8.0))


def test_loaded_sums_go_on_bit_for_bit():
    first, second = filled(), EpochSums()
    first.interval()
    second.load_state_dict(first.state_dict())
    for sums in (first, second):
        sums.add(terms(0.1, 3, 1), num_samples=1)
        sums.commit()
        sums.seconds = 5.0
    assert first.interval() == second.interval()
    assert first.result(1) == second.result(1)


@pytest.mark.parametrize("classes", [2, 3 * MAX_WAITING_VALUES])
def test_small_and_large_batches_count_the_same(classes):
    sums = EpochSums()
    for correct in (3, 1):
        sums.add(terms(1.0, 4, correct, classes=classes), num_samples=4)
    sums.commit()
    assert sums.result(0).avg_accuracy == pytest.approx(4 / 8)


def test_batches_of_different_numbers_of_classes_add_up():
    sums = EpochSums()
    for classes in (2, 5, 2):
        sums.add(terms(1.0, 4, 2, classes=classes), num_samples=4)
    sums.commit()
    assert sums.result(0).avg_accuracy == pytest.approx(0.5)


def test_pixels_are_counted():
    logits = torch.zeros(2, 3, 4, 4)
    logits[:, 1] = 1.0
    targets = torch.ones(2, 4, 4, dtype=torch.long)
    targets[0, 0] = torch.tensor([0, 0, 1, -100])
    sums = EpochSums()
    sums.add(LossTerms(torch.tensor(1.0), torch.tensor(31.0), logits, targets), num_samples=2)
    sums.commit()
    assert sums.result(0).avg_accuracy == pytest.approx(29 / 31)


def test_terms_are_read_now_and_then():
    sums = EpochSums()
    for _ in range(MAX_WAITING + 1):
        sums.add(terms(2.0, 3, 1), num_samples=1)
        sums.commit()
    assert len(sums._waiting) == 1
    assert sums.result(0).avg_loss == pytest.approx(2.0)


def test_a_million_batches_stay_exact():
    sums = EpochSums()
    sums.load_state_dict({**filled().state_dict(), "totals": [0.0, 2.0**30, 2.0**30, 2.0**30]})
    for _ in range(100):
        sums.add(terms(0.0, 1, 1), num_samples=1)
    sums.commit()
    assert sums.result(0).item_count == 2**30 + 100
