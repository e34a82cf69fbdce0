"""A small batch through a model: what comes out, and which layers called a fused kernel."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_FUSED_OPERATOR = "scaled_dot_product"
_BATCH, _TOKENS = 2, 8
_TOLERANCES = {torch.float16: 2e-2, torch.bfloat16: 5e-2}
_DEFAULT_TOLERANCE = 1e-4


def make_probe_inputs(model: nn.Module, config: Any | None) -> dict[str, Tensor] | None:
    """Make a small batch of token ids or images, or None where neither fits."""
    parameter = next(model.parameters(), None)
    if parameter is None:
        return None
    config = getattr(model, "config", None) or config
    generator = torch.Generator().manual_seed(0)
    name = getattr(model, "main_input_name", None) or _first_argument(model)
    size, vocab = getattr(config, "image_size", None), getattr(config, "vocab_size", None)
    if name == "pixel_values" and isinstance(size, int):
        channels = getattr(config, "num_channels", 3)
        images = torch.randn((_BATCH, channels, size, size), generator=generator)
        return {name: images.to(parameter)}
    if name and isinstance(vocab, int) and name != "pixel_values":
        ids = torch.randint(vocab, (_BATCH, _TOKENS), generator=generator)
        return {name: ids.to(parameter.device)}
    return None


def _first_argument(model: nn.Module) -> str | None:
    return next(iter(inspect.signature(model.forward).parameters), None)


@dataclass(frozen=True)
class Probe:
    """What a run on the probe batch gave: its floating tensors, and the layers on SDPA."""

    outputs: list[Tensor]
    fused: list[str]

    def agrees_with(self, other: Probe) -> bool:
        """Whether both gave the same values, to within what the type can hold."""
        if len(self.outputs) != len(other.outputs):
            return False
        return all(
            ours.shape == theirs.shape and _is_close(ours, theirs)
            for ours, theirs in zip(self.outputs, other.outputs, strict=True)
        )


def _is_close(ours: Tensor, theirs: Tensor) -> bool:
    tolerance = _TOLERANCES.get(ours.dtype, _DEFAULT_TOLERANCE)
    return torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)


def try_model(
    model: nn.Module,
    layers: dict[str, nn.Module],
    inputs: Mapping[str, Any],
    *,
    training: bool = False,
) -> Probe | Exception:
    """Run a model on a batch, leaving it as it was, and return the error where it raises one."""
    fused: list[str] = []
    try:
        with _untouched(model), torch.no_grad(), _FusedCalls(layers, fused):
            output = model.train(training)(**inputs)
    except Exception as error:  # noqa: BLE001 - a user's model may raise anything, and stays usable
        return error
    return Probe(list(_tensors(output)), [name for name in layers if name in fused])


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor) and output.is_floating_point():
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put back modes, buffers and random states, and keep inference shortcuts out of the way."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    shortcut = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng({p.device for p in model.parameters() if p.is_cuda}):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(shortcut)
        for module, was_training in modes.items():
            module.training = was_training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


class _FusedCalls(TorchDispatchMode):
    """Notes in which layers a fused attention operator is called."""

    def __init__(self, layers: dict[str, nn.Module], fused: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fused = fused
        self._current: list[str] = []
        self._handles = []
        for name, layer in layers.items():
            self._handles += [
                layer.register_forward_pre_hook(lambda *_, name=name: self._current.append(name)),
                layer.register_forward_hook(lambda *_: self._current.pop() and None),
            ]

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if self._current and _FUSED_OPERATOR in str(operator):
            self._fused.append(self._current[-1])
        return operator(*args, **(kwargs or {}))
