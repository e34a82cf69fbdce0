"""A sharded checkpoint as the one file that one process would have written."""

from __future__ import annotations

from pathlib import Path

from utils.training.engine.checkpoint.file import read_checkpoint, read_metadata, write_checkpoint
from utils.training.engine.checkpoint.shards import assembled
from utils.training.engine.checkpoint.state import describe


def files_of(checkpoint: Path) -> list[Path]:
    """Return everything that a checkpoint consists of: its file, and its shards'.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        CorruptCheckpointError: a RuntimeError; its metadata is damaged.
    """
    shards = read_metadata(checkpoint).get("shards")
    beside = [] if shards is None else sorted((checkpoint.parent / shards["folder"]).iterdir())
    return [checkpoint, *beside]


def as_one_file(checkpoint: Path, target: Path) -> Path:
    """Write a checkpoint with its shards put in, by one process without any others.

    Args:
        checkpoint: one that is whole already is returned as it is.
        target: what stands there is replaced.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        CorruptCheckpointError: a RuntimeError; it is not what was written.
    """
    if "shards" not in read_metadata(checkpoint):
        return checkpoint
    state = assembled(checkpoint, read_checkpoint(checkpoint))
    del state["shards"]
    write_checkpoint(target, state, describe(state))
    return target
