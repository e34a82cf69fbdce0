"""A model's weights alone, in the format that every framework reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from utils.training.engine.checkpoint.atomic_file import atomic_file
from utils.training.engine.checkpoint.file import read_checkpoint
from utils.training.engine.checkpoint.shards import assembled


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


def export_checkpoint(checkpoint: str | Path, path: str | Path) -> Path:
    """Write a checkpoint's weights, the averaged ones where there are, as one safetensors file.

    A sharded checkpoint is put together on the way, by one process without any others.

    Args:
        checkpoint: one file, with its shards beside it where it has some.
        path: what stands there is replaced.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        CorruptCheckpointError: a RuntimeError; it is not what was written.
    """
    path = Path(path)
    weights = weights_of(Path(checkpoint))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        whole = {name: tensor.contiguous().clone() for name, tensor in weights.items()}
        save_file(whole, file.name, metadata={"format": "pt"})
        _settle(file)
    return path


def weights_of(checkpoint: Path) -> dict[str, Tensor]:
    """Read a checkpoint's weights, the averaged ones where there are, whole and on the CPU.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        CorruptCheckpointError: a RuntimeError; it is not what was written.
    """
    state = assembled(checkpoint, read_checkpoint(checkpoint))
    averages = (state["custom_state"].get("average") or {}).get("averages", {})
    weights: dict[str, Tensor] = state["model_state_dict"]
    weights.update({name: average for name, average in averages.items() if name in weights})
    return weights


def _settle(file: BinaryIO) -> None:
    """Bring to disk what the library put there instead: another file, for its owner alone."""
    with open(file.name, "rb") as written:
        os.fchmod(written.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
        os.fsync(written.fileno())
