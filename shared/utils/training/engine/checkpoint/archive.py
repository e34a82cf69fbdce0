"""torch's own archive of a state, laid out without reading the tensors.

Laying out holds the interpreter's lock nearly all the time, the other work of a save hardly ever.
So it is done while the tensors are still copied, when nothing else wants the lock, and not beside
the training.
"""

from __future__ import annotations

from typing import IO, Any, cast

import torch
from torch.utils.serialization import config

from utils.training.engine.checkpoint.direct_io import ALIGNMENT_BYTES, address_of
from utils.training.engine.checkpoint.staging import is_view, tensors_of

# Without torch's CRC32 of each record, which costs half of a save: the file's digest covers it.
_SETTINGS = {"save.compute_crc32": False, "save.storage_alignment": ALIGNMENT_BYTES}


class Archive:
    """What ``torch.save`` writes of a state, in pieces.

    The bytes of the tensors are pieces of the tensors' own memory: whoever writes them finds what
    is there by then. Each begins at a multiple of the alignment that direct access to a disk needs.
    The memory lasts as long as the archive does.

    Args:
        state: tensors on the CPU and plain values.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state  # owns the memory
        layout = _Layout(state)
        with config.patch(_SETTINGS):  # type: ignore[attr-defined]  # holds for this thread alone
            torch.save(state, cast("IO[bytes]", layout))
        self.pieces = layout.finish()


class _Layout:
    """A file-like object for torch.save that keeps the bytes of tensors where they are."""

    def __init__(self, state: dict[str, Any]) -> None:
        storages = [t.untyped_storage() for t in tensors_of(state) if is_view(t)]
        self._places = {(storage.data_ptr(), storage.nbytes()) for storage in storages}
        self._lengths = {length for _, length in self._places}
        self._pieces: list[memoryview] = []
        self._gathered = bytearray()

    def write(self, data: memoryview) -> int:
        """Take in some bytes, which torch frees afterwards if they are none of a tensor's."""
        if len(data) in self._lengths and (address_of(data), len(data)) in self._places:
            self._close_gathered()
            self._pieces.append(data)
        else:
            self._gathered += data
        return len(data)

    def flush(self) -> None:
        """Torch asks for it; there is nothing to flush."""

    def finish(self) -> list[memoryview]:
        """Return all pieces in their order."""
        self._close_gathered()
        return self._pieces

    def _close_gathered(self) -> None:
        self._pieces.append(memoryview(self._gathered))
        self._gathered = bytearray()
