"""`torch.compile` for the length of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def compiled(model: nn.Module, mode: str | None) -> Iterator[None]:
    """Run the model compiled inside this context; None leaves it as it is.

    The module is compiled in place, so its state_dict keys stay what they were, and export sees
    the plain module afterwards.

    Args:
        model: any module.
        mode: one of torch.compile's modes.
    """
    if mode is None:
        yield
        return
    model.compile(mode=mode)
    try:
        yield
    finally:
        model._compiled_call_impl = None  # noqa: SLF001 - Module.compile has no public opposite
