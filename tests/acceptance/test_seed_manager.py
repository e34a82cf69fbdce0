"""The seeding calls that users make, as the reference shows them."""

import random

import numpy as np
import pytest
import torch

from utils.training.seed_manager import set_random_seed


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_seed_repeats_a_run(deterministic):
    def run():
        set_random_seed(42, deterministic=deterministic)
        weights = torch.nn.Linear(4, 2).weight.tolist()
        return random.random(), np.random.rand(), weights

    try:
        assert run() == run()
        assert torch.backends.cudnn.benchmark is not deterministic
    finally:
        set_random_seed(0)
