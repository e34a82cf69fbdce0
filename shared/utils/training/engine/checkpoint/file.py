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
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, BinaryIO, NamedTuple, cast

import torch
import xxhash

from utils.training.engine.checkpoint.atomic_file import atomic_file
from utils.training.errors import TrainingError

MAX_METADATA_BYTES = 60_000

_MAGIC = b"TENGCKP1"
_CONTENT = struct.Struct("<QI16s")  # archive bytes, metadata bytes, archive digest
_FOOTER = struct.Struct(f"<{_CONTENT.size}s16s8s")  # the above, trailer digest, magic
_CHUNK_BYTES = 1 << 20

# Two saves at once would restore each other's setting of torch's own checksum.
_zip_checksum_lock = threading.Lock()


class CorruptCheckpointError(TrainingError, RuntimeError):
    """A checkpoint file that is not what was written."""


class _Trailer(NamedTuple):
    archive_bytes: int
    archive_digest: bytes
    metadata: dict[str, Any]


def write_checkpoint(path: Path, state: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Write ``state`` under ``path``, atomically, and read it back before it gets that name.

    Args:
        path: a file that stood there is replaced.
        state: tensors and plain values.
        metadata: plain values, at most :data:`MAX_METADATA_BYTES` as JSON.

    Raises:
        OSError: the disk is full or the folder can't be written to; nothing is left behind.
        CorruptCheckpointError: what was read back is not what was written.
    """
    with atomic_file(path) as file:
        sink = _DigestingSink(file)
        with _zip_checksum_off():
            torch.save(state, cast("IO[bytes]", sink))
        sink.raise_error()
        file.write(_pack_trailer(sink.num_bytes, sink.digest(), metadata))
        file.flush()
        _verify(Path(file.name))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Check the digest and return the state; its tensors are mapped, on the CPU.

    Mapped tensors are private to the caller and outlive the file's deletion.

    Raises:
        FileNotFoundError: no such file.
        CorruptCheckpointError: a byte was changed, cut off or added, or the file holds objects
            other than tensors and plain values, which are never built.
    """
    _verify(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise CorruptCheckpointError(
            f"{path} holds objects other than tensors and plain values, which could run code; "
            "it was not loaded."
        ) from error


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
        _verify(path)
    except (CorruptCheckpointError, OSError):  # gone, or on a bad sector
        return False
    return True


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        trailer = _read_trailer(path, file)
        file.seek(0)
        digest = _digest_of(file, trailer.archive_bytes)
    if digest != trailer.archive_digest:
        raise CorruptCheckpointError(f"{path} is corrupted: its bytes don't match their digest.")


def _digest_of(file: BinaryIO, num_bytes: int) -> bytes:
    """The digest of the next bytes; read, for a bad sector under a mapping would be a signal."""
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while num_bytes and (count := file.readinto(buffer[:num_bytes])):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
        num_bytes -= count
    return digest.digest()


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


class _DigestingSink:
    """A file-like object for torch.save that digests what it passes on.

    torch's archive writer hides an error of ``write`` behind one of its own when it closes, so an
    error is kept, the rest swallowed, and :meth:`raise_error` raises it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = xxhash.xxh3_128()
        self._error: OSError | None = None
        self.num_bytes = 0

    def write(self, data: memoryview) -> int:
        """Digest and write; in chunks, so that the write finds them in the processor's cache."""
        self.num_bytes += data.nbytes
        for start in range(0, data.nbytes, _CHUNK_BYTES):
            self._write_chunk(data[start : start + _CHUNK_BYTES])
        return data.nbytes

    def _write_chunk(self, chunk: memoryview) -> None:
        if self._error is not None:
            return
        self._digest.update(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            self._error = error

    def flush(self) -> None:
        """Torch asks for it; the atomic file flushes once, at its end."""

    def digest(self) -> bytes:
        """The digest of all that was written."""
        return self._digest.digest()

    def raise_error(self) -> None:
        """Raise what a write raised, if one did."""
        if self._error is not None:
            raise self._error


@contextmanager
def _zip_checksum_off() -> Iterator[None]:
    """Leave out torch's CRC32 of each record, which costs half of a save: the digest covers it."""
    with _zip_checksum_lock:
        before = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(False)
        try:
            yield
        finally:
            torch.serialization.set_crc32_options(before)
