"""The built-in samples: real, complete, and without leaks between their splits."""

import pytest
import torch

from services.trainer.samples import NAMES, load_sample
from services.trainer.samples.digits import shift
from services.trainer.samples.text import tokenizer, unigram_perplexity
from utils.training.errors import UnknownNameError


@pytest.mark.parametrize(
    ("name", "key", "count"), [("digits", "images", 1797), ("cells", "features", 569)]
)
def test_every_row_is_in_exactly_one_split(name, key, count):
    sample = load_sample(name)
    parts = [
        getattr(part, key).flatten(1) for part in (sample.train, sample.validation, sample.test)
    ]
    rows = torch.cat(parts)
    assert len(rows) == count
    duplicates_in_source = {"digits": 0, "cells": 0}[name]
    assert count - len(torch.unique(rows, dim=0)) == duplicates_in_source


def test_no_block_of_text_is_in_two_splits():
    sample = load_sample("text")
    train, test = ({tuple(b.tolist()) for b in part.blocks} for part in (sample.train, sample.test))
    assert len(train & test) / len(test) < 0.01
    assert min(len(sample.train), len(sample.validation), len(sample.test)) > 40


@pytest.mark.parametrize("name", NAMES)
def test_the_model_of_a_sample_takes_its_data(name):
    sample = load_sample(name)
    batch = torch.utils.data.default_collate([sample.train[0], sample.train[1]])
    batch.pop("labels")
    output = sample.build_model()(**batch)
    logits = output if isinstance(output, torch.Tensor) else output.logits
    assert logits.shape[0] == 2
    assert logits.isfinite().all()


def test_the_tokenizer_gives_back_what_it_took():
    text = "A loop ends; naïvely, it does not."
    assert tokenizer().decode(tokenizer().encode(text)) == text


def test_a_model_that_knows_only_frequencies_is_surprised():
    sample = load_sample("text")
    assert 100 < unigram_perplexity(sample.train, sample.test) < 2048


def test_a_shift_moves_every_pixel_and_fills_with_background():
    image = torch.arange(1, 10, dtype=torch.float32).view(1, 3, 3)
    moved = shift(image, 1, -1)
    assert torch.equal(moved[0], torch.tensor([[0.0, 0, 0], [2, 3, 0], [5, 6, 0]]))
    assert torch.equal(shift(image, 0, 0), image)


def test_training_digits_differ_from_visit_to_visit_and_test_digits_do_not():
    sample = load_sample("digits")
    seen = {sample.train[0]["pixel_values"].numpy().tobytes() for _ in range(20)}
    assert len(seen) > 1
    assert torch.equal(sample.test[0]["pixel_values"], sample.test[0]["pixel_values"])


def test_an_unknown_sample_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="Did you mean: digits"):
        load_sample("digit")
