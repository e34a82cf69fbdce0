"""The file of a checkpoint: torch's own archive, then what proves it whole.

::

    archive    a torch.save file; torch.load opens the whole file as it is
    metadata   JSON, so that a listing reads no tensor
    footer     lengths, digest of the archive, digest of all behind the archive, magic

A zip reader looks for its end record in the last 64 KiB, which bounds the metadata. The digest is
XXH3 with 128 bits: it finds corruption, at the speed of memory. It is no signature; that a file
can't run code is the work of ``weights_only``.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, NamedTuple

import torch
import xxhash

from utils.training.engine.checkpoint.archive import Archive
from utils.training.engine.checkpoint.atomic_file import atomic_file
from utils.training.engine.checkpoint.direct_io import PageWriter, read_blocks
from utils.training.errors import TrainingError

MAX_METADATA_BYTES = 60_000

_MAGIC = b"TENGCKP1"
_CONTENT = struct.Struct("<QI16s")  # archive bytes, metadata bytes, archive digest
_FOOTER = struct.Struct(f"<{_CONTENT.size}s16s8s")  # the above, trailer digest, magic


class CorruptCheckpointError(TrainingError, RuntimeError):
    """A checkpoint file that is not what was written."""


class _Trailer(NamedTuple):
    archive_bytes: int
    archive_digest: bytes
    metadata: dict[str, Any]


def write_checkpoint(path: Path, state: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Write ``state``, tensors on the CPU and plain values; see :func:`write_archive`."""
    write_archive(path, Archive(state), metadata)


def write_archive(
    path: Path, archive: Archive, metadata: dict[str, Any], *, read_back: bool = True
) -> None:
    """Write a laid-out state under ``path``, atomically.

    Args:
        path: a file that stood there is replaced.
        archive: its tensors hold their values by now, and until the end.
        metadata: plain values, at most :data:`MAX_METADATA_BYTES` as JSON.
        read_back: compare what is on disk with its digest before it gets that name.

    Raises:
        OSError: the disk is full or the folder can't be written to; nothing is left behind.
        CorruptCheckpointError: what was read back is not what was written.
    """
    with atomic_file(path) as file:
        writer = PageWriter(file.fileno())
        for piece in archive.pieces:
            writer.write(piece)
        file.write(_pack_trailer(writer.num_bytes, writer.finish(), metadata))
        file.flush()
        if read_back:
            _verify(Path(file.name), past_cache=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Check the digest and return the state; its tensors are mapped, on the CPU.

    Mapped tensors are private to the caller and outlive the file's deletion.

    Raises:
        FileNotFoundError: no such file, or it was removed meanwhile.
        CorruptCheckpointError: a byte was changed, cut off or added, or the file holds objects
            other than tensors and plain values, which are never built.
    """
    _verify(path, past_cache=False)  # what it reads is what will be mapped
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise CorruptCheckpointError(
            f"{path} holds objects other than tensors and plain values, which could run code; "
            "it was not loaded."
        ) from error
    except RuntimeError as error:
        if path.exists():
            raise
        raise FileNotFoundError(f"{path} was removed while it was read.") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what was given to :func:`write_checkpoint` as metadata; reads no tensor.

    Raises:
        FileNotFoundError: no such file.
        CorruptCheckpointError: the file's size or its trailer is not what was written.
    """
    with path.open("rb") as file:
        return _read_trailer(path, file).metadata


def is_whole(path: Path) -> bool:
    """Tell whether every byte of the file is the one that was written."""
    try:
        _verify(path, past_cache=True)
    except (CorruptCheckpointError, OSError):  # gone, or on a bad sector
        return False
    return True


def _verify(path: Path, *, past_cache: bool) -> None:
    """Compare every byte with its digest; read, for a bad sector under a mapping is a signal."""
    with path.open("rb") as file:
        trailer = _read_trailer(path, file)
        digest = xxhash.xxh3_128()
        num_bytes = trailer.archive_bytes
        for block in read_blocks(file.fileno(), past_cache=past_cache):
            digest.update(block[:num_bytes])
            num_bytes = max(0, num_bytes - len(block))
    if digest.digest() != trailer.archive_digest:
        raise CorruptCheckpointError(f"{path} is corrupted: its bytes don't match their digest.")


def _pack_trailer(archive_bytes: int, archive_digest: bytes, metadata: dict[str, Any]) -> bytes:
    text = json.dumps(metadata, allow_nan=False).encode()
    assert len(text) <= MAX_METADATA_BYTES
    content = _CONTENT.pack(archive_bytes, len(text), archive_digest)
    return text + _FOOTER.pack(content, xxhash.xxh3_128_digest(text + content), _MAGIC)


def _read_trailer(path: Path, file: BinaryIO) -> _Trailer:
    size = file.seek(0, 2)
    tail_bytes = min(size, _FOOTER.size + MAX_METADATA_BYTES)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    if tail_bytes < _FOOTER.size or not tail.endswith(_MAGIC):
        raise CorruptCheckpointError(
            f"{path} is truncated, or not a checkpoint of this engine: its end is not what a whole "
            "one ends with."
        )
    content, trailer_digest, _ = _FOOTER.unpack(tail[-_FOOTER.size :])
    archive_bytes, metadata_bytes, archive_digest = _CONTENT.unpack(content)
    text = tail[: -_FOOTER.size][-metadata_bytes:]
    is_intact = xxhash.xxh3_128_digest(text + content) == trailer_digest
    if not is_intact or archive_bytes + metadata_bytes + _FOOTER.size != size:
        raise CorruptCheckpointError(f"{path} is corrupted: its size or its trailer was changed.")
    return _Trailer(archive_bytes, archive_digest, json.loads(text))
