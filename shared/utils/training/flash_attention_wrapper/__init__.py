"""Fused attention for a model's layers, where it is proven to give the same outputs.

PyTorch's ``scaled_dot_product_attention`` (SDPA) picks the fastest kernel there is: FlashAttention
on CUDA, a blocked one on CPU, where it saves less.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.nn import functional as F  # noqa: N812 - as PyTorch's own documentation writes it

from utils.training.arguments import require_instance
from utils.training.flash_attention_wrapper.probe import Probe, make_probe_inputs, try_model

__all__ = ["FlashAttentionWrapper"]

logger = logging.getLogger(__name__)

_FIRST_ARGUMENT_WITH_NEED_WEIGHTS = 5

Undo = Callable[[], Any]


class FlashAttentionWrapper:
    """Switches a model's attention to fused kernels, in place, and takes it back where they differ.

    Hugging Face models take ``attn_implementation="sdpa"``; an ``nn.MultiheadAttention`` whose
    attention weights nobody asks for no longer computes them. The model runs on a probe batch
    before and after; should outputs differ, or the model fail, it is left as it was. Attention
    written by hand is never rewritten, only recognised where it calls SDPA itself. Nothing here
    raises for a model that can't be switched: the log says why.

    Args:
        model: on the device and in the type that it will run in; its random state, buffers and
            mode stay as they are.
        config: the model's configuration; its ``vocab_size`` makes a probe of token ids where the
            model has no configuration of its own.
        probe_inputs: keyword arguments of ``forward`` to try the model on, where none can be made.

    Raises:
        WrongTypeError: a TypeError; what was given is no model.

    Attributes:
        sdpa_available: whether this PyTorch has SDPA.
        patched_layers: the names of the attention layers that ran on SDPA.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any | None = None,
        probe_inputs: Mapping[str, Any] | None = None,
    ) -> None:
        require_instance("model", model, nn.Module, "an nn.Module")
        self.model = model
        self.sdpa_available = hasattr(F, "scaled_dot_product_attention")
        self.patched_layers: list[str] = []
        layers = _attention_layers(model)
        inputs = probe_inputs or make_probe_inputs(model, config)
        if not layers:
            logger.info("The model has no attention layers, so there is nothing to speed up.")
        elif not self.sdpa_available or inputs is None:
            logger.info(
                "Left %d attention layers as they are: no batch to prove a faster one on; pass "
                "probe_inputs.",
                len(layers),
            )
        else:
            self.patched_layers = _switch(model, layers, inputs)
            device = next(model.parameters()).device.type
            _log_outcome(len(self.patched_layers), len(layers), device)


def _log_outcome(num_fused: int, num_layers: int, device: str) -> None:
    gain = (
        ""
        if device == "cuda" or not num_fused
        else f" On {device} the gain is smaller than on CUDA."
    )
    logger.info("Attention: %d of %d layers run on SDPA.%s", num_fused, num_layers, gain)


def _attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Find the innermost modules that call themselves attention, by name."""
    found = {n: m for n, m in model.named_modules() if "attention" in type(m).__name__.lower()}
    return {
        name: module
        for name, module in found.items()
        if not any(other.startswith(f"{name}.") for other in found) or not name
    }


def _switch(model: nn.Module, layers: dict[str, nn.Module], inputs: Mapping[str, Any]) -> list[str]:
    """Switch what can be, keep it if the probe agrees, and return the layers on SDPA."""
    before = try_model(model, layers, inputs)
    if isinstance(before, Exception):
        logger.info("Left attention as it is: the model fails on the probe batch (%s).", before)
        return []
    undos = [*_switch_hugging_face(model), *_switch_multihead(layers)]
    after = try_model(model, layers, inputs)
    # Weights may be wanted in training only, as by an auxiliary loss.
    in_training = try_model(model, layers, inputs, training=True) if undos else after
    if isinstance(after, Probe) and isinstance(in_training, Probe) and after.agrees_with(before):
        return after.fused
    for undo in undos:
        undo()
    logger.info("Left attention as it was: with SDPA the model fails or its outputs differ.")
    return before.fused


def _switch_hugging_face(model: nn.Module) -> Iterator[Undo]:
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        switch: Any = getattr(module, "set_attn_implementation", None)
        is_eager = getattr(config, "_attn_implementation", None) == "eager"
        if not is_eager or switch is None or getattr(config, "output_attentions", False):
            continue
        try:
            switch("sdpa")
        except (ValueError, ImportError) as error:  # transformers' word on a model without it
            logger.info("%s keeps eager attention: %s", type(module).__name__, error)
        else:
            yield partial(switch, "eager")


def _switch_multihead(layers: dict[str, nn.Module]) -> Iterator[Undo]:
    for module in layers.values():
        if isinstance(module, nn.MultiheadAttention):
            yield module.register_forward_pre_hook(_without_weights, with_kwargs=True).remove


def _without_weights(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Leave out attention weights that the caller didn't ask for by name."""
    if len(args) < _FIRST_ARGUMENT_WITH_NEED_WEIGHTS:
        kwargs = {"need_weights": False, **kwargs}
    return args, kwargs
