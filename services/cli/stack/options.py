"""What a stack is asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Backend = Literal["torchserve", "onnx"]


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """How many of what, and how models are served."""

    schedulers: int = 1
    trainers: int = 1
    backend: Backend = "onnx"
    prometheus: bool = False
    threads: int = 1  # of PyTorch, in each trainer
    entry_points: tuple[str, ...] = ()  # that jobs may name, beside those of the samples
    code: Path | None = None  # the folder that these are found from
    start_seconds: float = 180  # for each step of the start; a loaded machine imports slowly
