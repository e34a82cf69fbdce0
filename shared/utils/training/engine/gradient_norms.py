"""The one measurement that gradient health, clipping and logging share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from utils.training.arguments import require_instance

_HALF_DTYPES = {torch.float16, torch.bfloat16}


@dataclass(frozen=True)
class GradientNorms:
    """L2 norms of gradients, by layer and of all together.

    ``norms[i]`` is NaN or Inf only where layer ``names[i]`` holds such a value: the norm of a
    finite gradient is finite, even where its square overflows float32. ``faults`` are those
    layers, as ``"name (NaN)"`` and ``"name (Inf)"``. ``extras`` are the caller's scalars.
    """

    names: Sequence[str]
    norms: Sequence[float]
    total: float
    extras: Sequence[float] = ()
    faults: Sequence[str] = ()

    def scaled(self, factor: float) -> GradientNorms:
        """Return the norms of the same gradients times ``factor``, which is not negative."""
        norms = [norm * factor for norm in self.norms]
        return replace(self, norms=norms, total=self.total * factor)


def measure_model(model: nn.Module) -> GradientNorms:
    """Measure every parameter of a model that has a gradient; one device synchronisation.

    Raises:
        WrongTypeError: a TypeError; it is no model.
    """
    require_instance("model", model, nn.Module, "an nn.Module")
    return measure_gradients(*with_gradients(model.named_parameters()))


def with_gradients(
    parameters: Iterable[tuple[str, nn.Parameter]],
) -> tuple[list[str], list[Tensor]]:
    """Return the layer names and gradients of the named parameters that have one."""
    pairs = [(name, grad) for name, p in parameters if (grad := p.grad) is not None]
    return [layer_name(name) for name, _ in pairs], [grad for _, grad in pairs]


def layer_name(parameter_name: str) -> str:
    """Name a layer by its parameter, without ``.weight``: ``h.0.fc1``, and ``h.0.fc1.bias``."""
    return parameter_name.removesuffix(".weight")


def measure_gradients(
    names: Sequence[str], gradients: list[Tensor], extras: Sequence[Tensor] = ()
) -> GradientNorms:
    """Measure L2 norms, NaN and Inf in one fused pass and one device synchronisation.

    A tensor with a NaN or an Inf has a norm that isn't finite, so only such a one is looked at
    again, with a synchronisation of its own.

    Args:
        names: one for each gradient.
        gradients: of any shapes, floating dtypes and devices.
        extras: scalars to read in the same transfer.
    """
    if not gradients:
        return GradientNorms(names, [], 0.0, [scalar.item() for scalar in extras])
    norms = norms_of(gradients)
    if extras:
        norms = torch.cat([norms, torch.stack([scalar.to(norms) for scalar in extras])])
    values = norms.tolist()
    count = len(gradients)
    # On the host, in double precision, this is exact and costs less than one operation there.
    total = math.hypot(*values[:count])
    measured = GradientNorms(names, values[:count], total, values[count:])
    return measured if math.isfinite(measured.total) else _examined(measured, gradients)


def norms_of(gradients: list[Tensor]) -> Tensor:
    """Return L2 norms [n] on the first gradient's device, at least in float32."""
    dtypes = {gradient.dtype for gradient in gradients}
    devices = {gradient.device for gradient in gradients}
    if len(dtypes) == 1 and len(devices) == 1:
        return torch.stack(_norms_of_one_kind(gradients))
    home = gradients[0].device
    widest = torch.float64 if torch.float64 in dtypes else torch.float32
    norms = torch.empty(len(gradients), dtype=widest, device=home)
    for dtype in dtypes:
        for device in devices:
            places = [
                place
                for place, gradient in enumerate(gradients)
                if gradient.dtype is dtype and gradient.device == device
            ]
            if places:
                group = torch.stack(_norms_of_one_kind([gradients[place] for place in places]))
                norms[places] = group.to(norms, non_blocking=True)
    return norms


def _norms_of_one_kind(gradients: list[Tensor]) -> tuple[Tensor, ...]:
    # In half precision the norm itself overflows and rounds to three digits.
    dtype = torch.float32 if gradients[0].dtype in _HALF_DTYPES else None
    norm = torch._foreach_norm  # noqa: SLF001 - torch's own optimizers and clipping stand on it
    try:
        return norm(gradients, 2, dtype=dtype)
    except NotImplementedError:  # sparse gradients, as of nn.Embedding(sparse=True)
        return norm([_values(gradient) for gradient in gradients], 2, dtype=dtype)


def _values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _examined(measured: GradientNorms, gradients: Sequence[Tensor]) -> GradientNorms:
    """Tell NaN from Inf, and both from a finite gradient whose square overflowed."""
    norms, faults = list(measured.norms), []
    for place, norm in enumerate(norms):
        if not math.isfinite(norm):
            norms[place], kinds = _examine(_values(gradients[place].detach()))
            faults += [f"{measured.names[place]} ({kind})" for kind in kinds]
    return replace(measured, norms=norms, total=math.hypot(*norms), faults=faults)


def _examine(values: Tensor) -> tuple[float, list[str]]:
    """Return a gradient's norm, without overflow, and which of NaN and Inf it holds."""
    has_nan, has_inf = torch.stack([values.isnan().any(), values.isinf().any()]).tolist()
    if has_nan or has_inf:
        kinds = ["NaN"] * has_nan + ["Inf"] * has_inf
        return (math.nan if has_nan else math.inf), kinds
    peak = values.abs().max().to(torch.float32)
    return peak.item() * torch.linalg.vector_norm(values / peak, dtype=torch.float32).item(), []
