import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils.training.engine.data.keys import (
    BATCH,
    ORDER,
    SAMPLE,
    UntouchedGenerators,
    epoch_key,
    mix,
    seed_generators,
)

words = st.integers(0, 2**64 - 1)


def draw():
    return random.random(), float(np.random.rand()), torch.rand(2).tolist()


def test_a_key_is_the_published_generators_output():
    # SplitMix64 seeded with 1234567, as in the reference vectors of several implementations.
    gamma = 0x9E3779B97F4A7C15
    state, drawn = 1234567, []
    for _ in range(3):
        drawn.append(mix(state, 0))
        state = (state + gamma) % 2**64
    assert drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(words, words, words)
def test_two_parts_never_share_a_key(key, one, other):
    assert (mix(key, one) == mix(key, other)) == (one == other)


def test_neighbouring_indices_differ_in_half_of_their_bits():
    base = epoch_key(0, 0, SAMPLE)
    flipped = [(mix(base, i) ^ mix(base, i + 1)).bit_count() for i in range(2000)]
    assert 31 < np.mean(flipped) < 33


def test_seed_epoch_and_use_each_change_the_key():
    keys = {epoch_key(s, e, u) for s in range(5) for e in range(5) for u in (ORDER, SAMPLE, BATCH)}
    assert len(keys) == 75


def test_a_key_sets_all_three_generators():
    seed_generators(mix(1, 2))
    first = draw()
    draw()
    seed_generators(mix(1, 2))
    assert draw() == first
    seed_generators(mix(1, 3))
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_the_generators_go_on_as_if_nothing_had_happened():
    seed_generators(5)
    draw()
    expected = [draw(), draw()]
    seed_generators(5)
    draw()
    untouched = UntouchedGenerators()
    got = []
    for _ in range(2):
        with untouched:
            seed_generators(99)
            draw()
        got.append(draw())
    assert got == expected


def test_the_generators_are_put_back_after_an_error():
    seed_generators(5)
    expected = draw()
    seed_generators(5)

    def fail_after_seeding():
        with UntouchedGenerators():
            seed_generators(1)
            raise RuntimeError("of the dataset")

    with pytest.raises(RuntimeError, match="of the dataset"):
        fail_after_seeding()
    assert draw() == expected
