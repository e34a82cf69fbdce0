"""Activation checkpointing: recompute blocks in the backward pass instead of storing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from utils.training.errors import InvalidConfigError


@contextmanager
def activation_checkpointing(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Checkpoint the model's repeated blocks inside this context.

    A Hugging Face model does it by its own method; in any other the blocks are the members of the
    outermost ModuleList or Sequential that holds two or more of one class.

    Raises:
        InvalidConfigError: a ValueError; no repeated blocks were found.
    """
    if not enabled:
        yield
        return
    undo = _enable(model)
    try:
        yield
    finally:
        undo()


def _enable(model: nn.Module) -> Callable[[], None]:
    for family in ("activation", "gradient"):  # the second until transformers 5.20
        enable = getattr(model, f"{family}_checkpointing_enable", None)
        if enable is not None:
            enable({"use_reentrant": False})
            return getattr(model, f"{family}_checkpointing_disable")
    blocks = find_blocks(model)
    if not blocks:
        fault = (
            "activation_checkpointing is True, and the model has no ModuleList or Sequential with "
            "two or more blocks of one class; switch it off."
        )
        raise InvalidConfigError([fault])
    for block in blocks:
        block.forward = _checkpointed(block.forward)

    def undo() -> None:
        for block in blocks:
            del block.forward

    return undo


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """Find the members of the outermost containers of repeated blocks.

    Plain layers (a Linear, a Conv2d) repeated in a Sequential are no blocks: a block has children.
    """
    if isinstance(model, nn.ModuleList | nn.Sequential):
        with_children = [child for child in model if next(child.children(), None) is not None]
        counts = Counter(type(child) for child in with_children)
        repeated = [child for child in with_children if counts[type(child)] > 1]
        if repeated:
            return repeated
    return [block for child in model.children() for block in find_blocks(child)]
