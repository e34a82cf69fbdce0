"""Mixed precision: what the forward pass runs under, and the scaler that fp16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.amp import GradScaler

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """``autocast`` may be entered again and again; ``scaler`` is None where none is needed."""

    autocast: AbstractContextManager[Any] = field(default_factory=nullcontext)
    scaler: GradScaler | None = None


def create_precision(mode: str | None, device: torch.device) -> Precision:
    """Choose by ``mixed_precision``: ``bf16``, ``fp16`` (with a loss scaler), or None for fp32."""
    if mode is None:
        return Precision()
    autocast = torch.autocast(device.type, dtype=_DTYPES[mode])
    return Precision(autocast, GradScaler(device.type) if mode == "fp16" else None)
