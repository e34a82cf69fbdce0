"""The part of a checkpoint that lies beside its file: tensors in shards, one file a rank.

A sharded checkpoint is a checkpoint file whose metadata names a folder. The file is written last,
so where it stands the folder is whole; the folder's manifest has a digest of each file in it, and
the metadata the manifest's.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

SUFFIX = ".shards"
_MANIFEST = "digests.json"
_BLOCK_BYTES = 1 << 24


def folder_name(path: Path, token: str) -> str:
    """Name a folder for the shards of a file, another one for each time that it is saved."""
    return f"{path.stem}.{token}{SUFFIX}"


def digest_of(path: Path) -> str:
    """Return the digest of a file's bytes."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def seal(folder: Path, digests: dict[str, str]) -> dict[str, str]:
    """Write the manifest, and return what the checkpoint's metadata holds of the shards."""
    manifest = folder / _MANIFEST
    with manifest.open("w", encoding="utf-8") as file:
        json.dump(digests, file)
        file.flush()
        os.fsync(file.fileno())
    return {"folder": folder.name, "digest": digest_of(manifest)}


def are_whole(path: Path, shards: dict[str, str] | None) -> bool:
    """Tell whether every byte of a checkpoint's shards is what was written."""
    if shards is None:
        return True
    folder = path.parent / shards["folder"]
    try:
        if digest_of(folder / _MANIFEST) != shards["digest"]:
            return False
        digests = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return all(digest_of(folder / name) == digest for name, digest in digests.items())
    except OSError:
        return False


def remove_orphans(folder: Path, newest: Path | None = None, current: str = "") -> None:
    """Delete shards whose file is gone, and those of an earlier save under ``newest``'s name."""
    for shards in folder.glob(f"*{SUFFIX}"):
        owner = owner_of(shards)
        if not owner.exists() or (owner == newest and shards.name != current):
            shutil.rmtree(shards, ignore_errors=True)


def owner_of(shards: Path) -> Path:
    """Return the checkpoint file that a folder of shards belongs to."""
    return shards.parent / f"{shards.name.partition('.')[0]}.pt"


def assembled(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with the tensors of its shards put in, whole and on the CPU."""
    if "shards" not in state:
        return state
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = FileSystemReader(path.parent / state["shards"]["folder"])
    described = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(tensor.size, dtype=tensor.properties.dtype)  # type: ignore[union-attr]
        for name, tensor in described.items()
    }
    with warnings.catch_warnings():  # of doing in one process what is meant to be done in one
        warnings.simplefilter("ignore", UserWarning)
        load(tensors, storage_reader=reader, no_dist=True)
    return put_in(state, tensors)


def put_in(state: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Put tensors by their names in the shards (``model/...``) where the state has them."""
    model, optimizer = state["model_state_dict"], state["optimizer_state_dict"]
    averages = (state["custom_state"].get("average") or {}).get("averages", {})
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part == "model":
            model[rest] = tensor
        elif part == "average":
            averages[rest] = tensor
        else:
            index, _, key = rest.partition("/")
            optimizer["state"].setdefault(int(index), {})[key] = tensor
    return state
