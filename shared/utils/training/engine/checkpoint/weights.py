"""A model's weights alone, in the format that every framework reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from safetensors.torch import save_model
from torch import nn

from utils.training.engine.checkpoint.atomic_file import atomic_file


def export_safetensors(model: nn.Module, path: str | Path) -> Path:
    """Write the model's parameters and buffers as a safetensors file, atomically.

    Tied weights are stored once, and the file's metadata names the others; non-contiguous ones are
    stored row by row. ``safetensors.torch.load_model`` reads both back.

    Args:
        model: stays as it is.
        path: the folder is created where it is missing; a file that stands there is replaced.

    Returns:
        The file's path.

    Raises:
        RuntimeError: two tensors overlap in part, which the format can't express.
        OSError: the disk is full; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        save_model(model, file.name, metadata={"format": "pt"})
        _settle(file)
    return path


def _settle(file: BinaryIO) -> None:
    """Bring to disk what the library put there instead: another file, for its owner alone."""
    with open(file.name, "rb") as written:
        os.fchmod(written.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
        os.fsync(written.fileno())
