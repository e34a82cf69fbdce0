"""Norms of gradients of which each rank holds a part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from utils.training.engine.gradient_norms import GradientNorms, norms_of


def measure_shards(
    names: Sequence[str], shards: list[Tensor], extras: Sequence[Tensor] = ()
) -> GradientNorms:
    """Measure as ``measure_gradients`` does, over the shards of all ranks together.

    Every rank calls it with the same names and gets the same numbers.
    """
    device = extras[0].device if extras else shards[0].device
    norms = norms_of(shards) if shards else torch.zeros(0, device=device)
    squares = norms.to(torch.float64).square()
    dist.all_reduce(squares)
    values = torch.cat([squares.sqrt(), *(extra.to(squares).reshape(1) for extra in extras)])
    numbers = values.tolist()
    count = len(shards)
    total = math.hypot(*numbers[:count])
    measured = GradientNorms(names, numbers[:count], total, numbers[count:])
    return measured if math.isfinite(total) else _examined(measured, shards)


def _examined(measured: GradientNorms, shards: Sequence[Tensor]) -> GradientNorms:
    """Tell NaN from Inf, and both from finite gradients whose squares overflowed, on all ranks."""
    places = [place for place, norm in enumerate(measured.norms) if not math.isfinite(norm)]
    looks = torch.stack([_look(shards[place].detach()) for place in places])
    dist.all_reduce(looks, dist.ReduceOp.MAX)
    peaks = looks[:, 2]
    sums = torch.stack(
        [
            (shards[place].to(torch.float64) / peak).square().sum()
            for place, peak in zip(places, peaks, strict=True)
        ]
    )
    dist.all_reduce(sums)
    norms, faults = list(measured.norms), []
    for place, (has_nan, has_inf, _), norm in zip(
        places, looks.tolist(), (peaks * sums.sqrt()).tolist(), strict=True
    ):
        kinds = ["NaN"] * bool(has_nan) + ["Inf"] * bool(has_inf)
        faults += [f"{measured.names[place]} ({kind})" for kind in kinds]
        norms[place] = math.nan if has_nan else math.inf if has_inf else norm
    return replace(measured, norms=norms, total=math.hypot(*norms), faults=faults)


def _look(shard: Tensor) -> Tensor:
    """Return [has NaN, has Inf, greatest finite magnitude], float64."""
    finite = shard.to(torch.float64).abs().nan_to_num(0, posinf=0)
    peak = finite.max() if finite.numel() else finite.new_zeros(())
    return torch.stack([shard.isnan().any().to(peak), shard.isinf().any().to(peak), peak])
