"""Gradient health of 148 parameters: norms, NaN/Inf and the total, against the total norm alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from benchmarks.figures import Figure
from benchmarks.interleaving import interleaved_milliseconds, median_ratio
from utils.training.engine import GradientMonitor
from utils.training.engine.gradient_norms import measure_gradients, with_gradients

NUM_REPEATS = 60


def run() -> list[Figure]:
    """Measure on the GPU where there is one, else on one thread of the CPU."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _model_with_gradients(device)
    names, gradients = with_gradients(model.named_parameters())
    monitor = GradientMonitor()
    calls: dict[str, Callable[[], object]] = {
        "total": lambda: torch.nn.utils.get_total_norm(gradients, foreach=True).item(),
        "check": lambda: monitor.check_gradients(model),
        "step": lambda: monitor.judge(measure_gradients(names, gradients)),
        "loop": lambda: _by_parameter(model),
    }
    samples = interleaved_milliseconds(calls, NUM_REPEATS, device)
    size = f"{len(gradients)} gradients, {sum(g.numel() for g in gradients) / 1e6:.1f} M values"
    bare = f"get_total_norm, {statistics.median(samples['total']):.2f} ms; {size}"
    ratio = {name: median_ratio(samples[name], samples["total"]) for name in calls}
    return [
        Figure("check_gradients", ratio["check"], at_most=1.2, against=bare),
        Figure("the same within a step", ratio["step"], at_most=1.2, against=bare),
        Figure("norm, isnan, isinf by parameter", ratio["loop"], against=bare),
        _synchronisations("check_gradients", calls["check"], at_most=1),
        _synchronisations("norm, isnan, isinf by parameter", calls["loop"]),
    ]


def _model_with_gradients(device: torch.device) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 8192, "n_positions": 128, "n_embd": 256, "n_layer": 12, "n_head": 8}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).to(device)
    ids = torch.randint(8192, (2, 32), device=device)
    model(input_ids=ids, labels=ids).loss.backward()
    return model


def _by_parameter(model: nn.Module) -> tuple[dict[str, float], list[str]]:
    """Ask each gradient three questions, as is often done."""
    norms, faulty = {}, []
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            if torch.isnan(parameter.grad).any().item() or torch.isinf(parameter.grad).any().item():
                faulty.append(name)
            norms[name] = parameter.grad.norm(2).item()
    return norms, faulty


class _CountReads(TorchDispatchMode):
    """Counts the times that the host waits for a value of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.count += operator is torch.ops.aten._local_scalar_dense.default  # noqa: SLF001 - the operator's name
        return operator(*args, **(kwargs or {}))

    def tolist(self, read: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """Count a list as one read: it is one transfer, which no operator shows."""

        def counted(tensor: Tensor) -> Any:
            self.count += 1
            with _disable_current_modes():
                return read(tensor)

        return counted


def _synchronisations(
    what: str, call: Callable[[], object], at_most: float | None = None
) -> Figure:
    reads = _CountReads()
    with mock.patch.object(Tensor, "tolist", reads.tolist(Tensor.tolist)), reads:
        call()
    return Figure(what, reads.count, unit="device syncs", at_most=at_most)
