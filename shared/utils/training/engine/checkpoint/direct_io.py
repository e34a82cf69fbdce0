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
from numpy.typing import NDArray

ALIGNMENT_BYTES = 4096  # of memory, place and length: a multiple of any sector
BLOCK_BYTES = 4 << 20  # fits the processor's cache

Bytes = NDArray[np.uint8]

_WRITE_BYTES = 64 << 20  # few long writes disturb the training less than many short ones
_MAX_PARTS = 1000  # of a write; Linux takes 1024
_O_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux has it


class PageWriter:
    """Digests what it is given, and writes it in long runs of whole pages.

    Pages whose place in the file and in memory allow it are written from where they lie; what
    stands between them is gathered in a block.

    Args:
        file_descriptor: open for writing at the file's start; nobody else writes to it until
            :meth:`finish`.
    """

    def __init__(self, file_descriptor: int) -> None:
        self._file_descriptor = file_descriptor
        self._block = np.frombuffer(mmap.mmap(-1, BLOCK_BYTES), dtype=np.uint8)  # page-aligned
        self._start = self._end = 0  # of what is in the block and in no part yet
        self._parts: list[memoryview] = []  # of the next write
        self._num_part_bytes = 0
        self._digest = xxhash.xxh3_128()
        self.num_bytes = 0

    def write(self, data: memoryview | bytes) -> None:
        """Take in some bytes, which stay as they are until :meth:`finish`.

        Raises:
            OSError: the disk is full.
        """
        source = np.frombuffer(data, dtype=np.uint8)
        while len(source):
            num_taken = self._take_pages(source) or self._gather(source)
            self.num_bytes += num_taken
            source = source[num_taken:]

    def finish(self) -> bytes:
        """Write what is left; return the digest of all bytes.

        Raises:
            OSError: the disk is full.
        """
        self._close_part(self._end - self._end % ALIGNMENT_BYTES)
        self._flush()
        self._close_part(self._end)
        self._flush(past_cache=False)
        return self._digest.digest()

    def _take_pages(self, source: Bytes) -> int:
        num_bytes = len(source) - len(source) % ALIGNMENT_BYTES
        if num_bytes == 0 or (self.num_bytes | address_of(source)) % ALIGNMENT_BYTES:
            return 0
        self._close_part(self._end)
        self._add_part(source[:num_bytes].data)
        if self._num_part_bytes >= _WRITE_BYTES or len(self._parts) >= _MAX_PARTS:
            self._flush()
        return num_bytes

    def _gather(self, source: Bytes) -> int:
        target = self._block[self._end : self._end + len(source)]
        np.copyto(target, source[: len(target)])  # without the interpreter's lock
        self._end += len(target)
        if self._end == BLOCK_BYTES:
            self._close_part(self._end)
            self._flush()
        return len(target)

    def _close_part(self, end: int) -> None:
        if end > self._start:
            self._add_part(self._block[self._start : end].data)
            self._start = end

    def _add_part(self, part: memoryview) -> None:
        self._parts.append(part)
        self._num_part_bytes += len(part)

    def _flush(self, *, past_cache: bool = True) -> None:
        """Write the parts; they end with a whole page, or with the file."""
        for part in self._parts:
            self._digest.update(part)
        set_direct(self._file_descriptor, wanted=past_cache)
        while self._parts:
            self._drop(self._write_some(self._parts))
        self._num_part_bytes = 0
        if self._start == self._end:
            self._start = self._end = 0

    def _write_some(self, parts: list[memoryview]) -> int:
        return _through_cache_where_refused(self._file_descriptor, lambda fd: os.writev(fd, parts))

    def _drop(self, num_written: int) -> None:
        while num_written:
            part = self._parts.pop(0)
            if len(part) > num_written:
                self._parts.insert(0, part[num_written:])
            num_written -= min(len(part), num_written)


def address_of(data: memoryview | Bytes) -> int:
    """Return where in memory some bytes are."""
    return int(np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0])


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
