"""Seeds for every random number generator, and their states as plain values and tensors."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch

from utils.training.arguments import require_flag

_SEED_LIMIT = 2**32  # NumPy's legacy generator takes 32 bits


def set_random_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy, PyTorch and every CUDA device.

    Args:
        seed: 0 to 2**32 - 1.
        deterministic: True takes bit-exact kernels and switches the cuDNN benchmark off; False lets
            cuDNN choose the fastest kernel.

    Raises:
        ValueError: the seed is no whole number in that range, or ``deterministic`` no flag.
    """
    require_flag("deterministic", deterministic)
    is_whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not is_whole or not 0 <= seed < _SEED_LIMIT:
        raise ValueError(
            f"The seed is {seed!r}, allowed is a whole number from 0 to {_SEED_LIMIT - 1}."
        )
    seed = int(seed)  # NumPy's integers are welcome, and Python's generator refuses them
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - users' datasets draw from the legacy generator
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic != torch.are_deterministic_algorithms_enabled():
        # Called only for a change: it imports torch's compiler, which takes seconds.
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    if deterministic:
        # cuBLAS reads this when its handle is made; without it CUDA matmuls may differ run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def capture_rng_state() -> dict[str, Any]:
    """Every generator's state, in tensors and plain values that a safe checkpoint may hold."""
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    words_of_numpy = numpy_state["state"]["key"].astype(np.int64)
    return {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [
            numpy_state["bit_generator"],
            torch.from_numpy(words_of_numpy),
            int(numpy_state["state"]["pos"]),
            int(numpy_state["has_gauss"]),
            float(numpy_state["gauss"]),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng_state(state: dict[str, Any]) -> None:
    """Put every generator where :func:`capture_rng_state` found it.

    The CUDA states are left out where this machine has another number of devices.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def untouched_generators() -> Iterator[None]:
    """Leave every generator as it was found, whatever is drawn inside."""
    state = capture_rng_state()
    try:
        yield
    finally:
        restore_rng_state(state)
