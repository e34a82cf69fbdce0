"""Large files past the page cache, where the file system can do that.

A checkpoint is written once and read after a restart, if ever. Through the page cache each of its
bytes is copied once more, with the memory bandwidth that training needs meanwhile, and pushes out
what the loaders will want again. What can't be written or read past it (tmpfs, some network file
systems, the last bytes of a file) goes through it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator

import numpy as np
import xxhash

BLOCK_BYTES = 4 << 20  # a multiple of any page or sector; fits the processor's cache

_FEW_BYTES = 1 << 12
_O_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux has it


class BlockWriter:
    """Gathers small and large writes into aligned blocks, digests each and writes it.

    Args:
        file_descriptor: open for writing; nobody else writes to it until :meth:`finish`.
    """

    def __init__(self, file_descriptor: int) -> None:
        self._file_descriptor = file_descriptor
        self._block = mmap.mmap(-1, BLOCK_BYTES)  # page-aligned
        self._values = np.frombuffer(self._block, dtype=np.uint8)
        self._num_filled = 0
        self._digest = xxhash.xxh3_128()
        self.num_bytes = 0

    def write(self, data: memoryview | bytes) -> None:
        """Take in some bytes.

        Raises:
            OSError: the disk is full.
        """
        self.num_bytes += len(data)
        end = self._num_filled + len(data)
        if len(data) <= _FEW_BYTES and end < BLOCK_BYTES:  # most calls, and none takes long
            self._block[self._num_filled : end] = data
            self._num_filled = end
            return
        source = np.frombuffer(data, dtype=np.uint8)
        while len(source):
            target = self._values[self._num_filled : self._num_filled + len(source)]
            np.copyto(target, source[: len(target)])  # without the interpreter's lock
            self._num_filled += len(target)
            source = source[len(target) :]
            if self._num_filled == BLOCK_BYTES:
                set_direct(self._file_descriptor, wanted=True)
                self._flush()

    def finish(self) -> bytes:
        """Write what is left; return the digest of all bytes.

        Raises:
            OSError: the disk is full.
        """
        set_direct(self._file_descriptor, wanted=False)
        self._flush()
        return self._digest.digest()

    def _flush(self) -> None:
        block = memoryview(self._block)[: self._num_filled]
        self._digest.update(block)
        while block:
            block = block[self._write_some(block) :]
        self._num_filled = 0

    def _write_some(self, block: memoryview) -> int:
        return _through_cache_where_refused(self._file_descriptor, lambda fd: os.write(fd, block))


def read_blocks(file_descriptor: int, *, past_cache: bool) -> Iterator[memoryview]:
    """Read from the file's start to its end; a block is overwritten by the next.

    Args:
        file_descriptor: open for reading.
        past_cache: read what is on disk, and leave the page cache as it is.

    Raises:
        OSError: the disk can't give the bytes back.
    """
    block = mmap.mmap(-1, BLOCK_BYTES)
    set_direct(file_descriptor, wanted=past_cache)
    position = 0

    def read(descriptor: int) -> int:
        return os.preadv(descriptor, [block], position)

    while count := _through_cache_where_refused(file_descriptor, read):
        yield memoryview(block)[:count]
        position += count


def set_direct(file_descriptor: int, *, wanted: bool) -> None:
    """Go past the page cache from now on, or through it; a file system that can't, stays."""
    flags = fcntl.fcntl(file_descriptor, fcntl.F_GETFL)
    changed = flags | _O_DIRECT if wanted else flags & ~_O_DIRECT
    if changed == flags:
        return
    try:
        fcntl.fcntl(file_descriptor, fcntl.F_SETFL, changed)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _through_cache_where_refused(file_descriptor: int, transfer: Callable[[int], int]) -> int:
    """Transfer; a length or place that direct access can't take goes through the cache."""
    try:
        return transfer(file_descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    set_direct(file_descriptor, wanted=False)
    return transfer(file_descriptor)
