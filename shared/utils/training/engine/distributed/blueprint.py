"""A model's structure, kept from before its weights are sharded, for whoever needs it whole."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def blueprint_of(model: nn.Module) -> nn.Module:
    """Copy a model whose parameters take no memory in the copy; its buffers are there."""
    return _with_parameters(model, "meta")


def whole_model(blueprint: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Build a model in host memory after a blueprint, with these weights; tied ones stay tied.

    Raises:
        RuntimeError: the weights are of another model.
    """
    model = _with_parameters(blueprint, "cpu").cpu()
    model.load_state_dict(weights)
    return model


def _with_parameters(model: nn.Module, device: str) -> nn.Module:
    """Copy a model with empty parameters on a device, each one once."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(
            torch.empty_like(parameter, device=device), parameter.requires_grad
        )
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, memo)
