import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from utils.training.seed_manager import (
    capture_rng_state,
    restore_rng_state,
    set_random_seed,
    untouched_generators,
)


@pytest.fixture(autouse=True)
def settings_put_back(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    set_random_seed(0, deterministic=False)
    torch.backends.cudnn.benchmark = False


def draw():
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.rand(3).tolist(),
        np.random.randn(),
        torch.rand(3).tolist(),
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_same_seed_draws_the_same_from_every_generator(deterministic):
    set_random_seed(42, deterministic=deterministic)
    first = draw()
    set_random_seed(42, deterministic=deterministic)
    assert draw() == first
    set_random_seed(43, deterministic=deterministic)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_the_two_modes_draw_the_same_numbers():
    set_random_seed(42)
    fast = draw()
    set_random_seed(42, deterministic=True)
    assert draw() == fast


def test_fast_mode_lets_cudnn_choose():
    set_random_seed(1, deterministic=False)
    assert torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_deterministic_mode_takes_bit_exact_kernels():
    set_random_seed(1, deterministic=True)
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_deterministic_mode_keeps_a_users_cublas_setting(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    set_random_seed(1, deterministic=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_deterministic_mode_can_be_left_again():
    set_random_seed(1, deterministic=True)
    set_random_seed(1)
    assert torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(7)])
def test_any_seed_of_32_bits_will_do(seed):
    set_random_seed(seed)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "42", None, True])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="allowed is a whole number from 0 to 4294967295"):
        set_random_seed(seed)


def test_states_are_restored_to_the_bit_after_a_safe_load(tmp_path):
    set_random_seed(5)
    draw()
    torch.save(capture_rng_state(), tmp_path / "state.pt")
    expected = [draw(), draw()]
    set_random_seed(6)
    restore_rng_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [draw(), draw()] == expected


def test_a_state_is_a_copy_that_later_draws_leave_alone():
    set_random_seed(5)
    state = capture_rng_state()
    expected = draw()
    draw()
    restore_rng_state(state)
    assert draw() == expected
    restore_rng_state(state)
    assert draw() == expected


def test_states_of_another_number_of_gpus_are_left_out():
    set_random_seed(5)
    missing = [torch.get_rng_state()] * (torch.cuda.device_count() + 1)
    state = {**capture_rng_state(), "cuda": missing}
    expected = draw()
    restore_rng_state(state)
    assert draw() == expected


def test_what_is_drawn_in_passing_leaves_no_trace():
    set_random_seed(5)
    expected = [draw(), draw()]
    set_random_seed(5)
    got = [draw()]
    with pytest.raises(RuntimeError, match="in passing"):
        draw_in_passing_and_fail()
    assert [*got, draw()] == expected


def draw_in_passing_and_fail():
    with untouched_generators():
        draw()
        raise RuntimeError("in passing")


def test_another_process_draws_the_same(tmp_path):
    set_random_seed(11)
    script = (
        "from utils.training.seed_manager import set_random_seed\n"
        "import numpy, random, torch\n"
        "set_random_seed(11)\n"
        "print(random.random(), numpy.random.rand(), torch.rand(1).item())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    output = subprocess.check_output([sys.executable, "-c", script], text=True, env=environment)
    here = random.random(), np.random.rand(), torch.rand(1).item()
    assert tuple(map(float, output.split())) == here
