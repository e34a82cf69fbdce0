"""What a look at the gradients found: NaN, Inf, vanishing and exploding layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from utils.training.engine.gradient_norms import GradientNorms

_NAN, _INF = "(NaN)", "(Inf)"


@dataclass(frozen=True)
class GradientHealth:
    """What one look at the gradients found.

    A layer is named by its parameter without ``.weight``. ``affected_layers`` end in ``(NaN)`` or
    ``(Inf)``, such as ``"h.11.attn.q_proj (NaN)"``. In ``max_norm`` and ``min_norm`` a NaN counts
    as infinite.
    """

    has_nan: bool
    has_inf: bool
    max_norm: float
    min_norm: float
    affected_layers: list[str] = field(default_factory=list)
    is_healthy: bool = True
    vanishing_layers: list[str] = field(default_factory=list)
    exploding_layers: list[str] = field(default_factory=list)

    @property
    def is_finite(self) -> bool:
        """Whether there is neither NaN nor Inf, so that a step may be taken."""
        return not (self.has_nan or self.has_inf)

    def __str__(self) -> str:
        if self.is_healthy:
            return f"✓ Healthy (norm: {self.min_norm:.2e} - {self.max_norm:.2e})"
        counts = {
            "NaN": sum(layer.endswith(_NAN) for layer in self.affected_layers),
            "Inf": sum(layer.endswith(_INF) for layer in self.affected_layers),
            "Vanishing": len(self.vanishing_layers),
            "Exploding": len(self.exploding_layers),
        }
        found = [f"{issue} in {count} layers" for issue, count in counts.items() if count]
        return f"⚠️ Issues: {', '.join(found)}"


def assess(
    norms: GradientNorms, vanishing_threshold: float, explosion_threshold: float
) -> GradientHealth:
    """Judge measured gradients, layer by layer."""
    faults = list(norms.faults)
    values = norms.norms
    if faults:
        values = [math.inf if math.isnan(norm) else norm for norm in values]
    least, greatest = (min(values), max(values)) if values else (0.0, 0.0)
    vanishing: list[str] = []
    exploding: list[str] = []
    if least < vanishing_threshold or greatest > explosion_threshold:
        layers = list(zip(norms.names, norms.norms, strict=True))
        vanishing = [name for name, norm in layers if norm < vanishing_threshold]
        exploding = [name for name, norm in layers if explosion_threshold < norm < math.inf]
    return GradientHealth(
        has_nan=any(fault.endswith(_NAN) for fault in faults),
        has_inf=any(fault.endswith(_INF) for fault in faults),
        max_norm=greatest,
        min_norm=least,
        affected_layers=faults,
        is_healthy=not (faults or vanishing or exploding),
        vanishing_layers=vanishing,
        exploding_layers=exploding,
    )
