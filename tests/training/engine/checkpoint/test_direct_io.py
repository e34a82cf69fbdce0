"""Blocks past the page cache: the same bytes, whatever the file system can do."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.training.engine.checkpoint import direct_io
from utils.training.engine.checkpoint.direct_io import (
    ALIGNMENT_BYTES,
    BLOCK_BYTES,
    PageWriter,
    read_blocks,
)

MEMORY = Path("/dev/shm")


def write(path, pieces):
    with path.open("xb") as file:
        writer = PageWriter(file.fileno())
        for piece in pieces:
            writer.write(piece)
        digest = writer.finish()
        file.write(b"behind")
    return digest, writer.num_bytes


def read(path, *, past_cache=True):
    with path.open("rb") as file:
        return b"".join(bytes(block) for block in read_blocks(file.fileno(), past_cache=past_cache))


@pytest.mark.parametrize("past_cache", [True, False])
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(0, 2 * BLOCK_BYTES + 3), max_size=4))
def test_what_is_written_in_any_pieces_is_read(tmp_path_factory, lengths, past_cache):
    pieces = [bytes([index + 1]) * length for index, length in enumerate(lengths)]
    path = tmp_path_factory.mktemp("blocks") / "file"

    digest, num_bytes = write(path, pieces)

    whole = b"".join(pieces)
    assert num_bytes == len(whole)
    assert digest == xxhash.xxh3_128_digest(whole)
    assert read(path, past_cache=past_cache) == whole + b"behind"
    path.unlink()


@settings(max_examples=30)
@given(
    lengths=st.lists(
        st.one_of(
            st.integers(0, 3 * ALIGNMENT_BYTES),
            st.integers(0, 3 * BLOCK_BYTES).map(lambda n: n - n % ALIGNMENT_BYTES),
        ),
        max_size=12,
    ),
    is_aligned=st.booleans(),
)
def test_pages_and_what_is_between_them_keep_their_order(tmp_path_factory, lengths, is_aligned):
    memory = mmap.mmap(-1, sum(lengths) + (len(lengths) + 1) * ALIGNMENT_BYTES)
    pieces, place = [], 0
    for index, length in enumerate(lengths):
        memory[place : place + length] = bytes([index + 1]) * length
        pieces.append(memoryview(memory)[place : place + length])
        place += length
        if is_aligned:
            place += -place % ALIGNMENT_BYTES
    path = tmp_path_factory.mktemp("pages") / "file"

    digest, num_bytes = write(path, pieces)

    whole = b"".join(pieces)
    assert num_bytes == len(whole)
    assert digest == xxhash.xxh3_128_digest(whole)
    assert read(path) == whole + b"behind"
    path.unlink()


def test_aligned_memory_is_written_from_where_it_lies(tmp_path, monkeypatch):
    written = []
    send = os.writev

    def note(descriptor, parts):
        written.extend(direct_io.address_of(part) for part in parts)
        return send(descriptor, parts)

    monkeypatch.setattr(direct_io.os, "writev", note)
    memory = memoryview(mmap.mmap(-1, 2 * BLOCK_BYTES))
    write(tmp_path / "file", [b"x" * ALIGNMENT_BYTES, memory, b"y", memory])

    assert written.count(direct_io.address_of(memory)) == 1  # behind "y" no page is in its place


def test_many_parts_are_more_than_one_write(tmp_path):
    memory = memoryview(mmap.mmap(-1, ALIGNMENT_BYTES))
    pieces = [memory, b"z" * ALIGNMENT_BYTES] * 1500
    write(tmp_path / "file", pieces)

    assert read(tmp_path / "file") == b"".join(pieces) + b"behind"


def test_what_a_short_write_left_follows(tmp_path, monkeypatch):
    send = os.writev

    def send_less(descriptor, parts):
        return send(descriptor, [parts[0][: max(1, len(parts[0]) // 2)]])

    monkeypatch.setattr(direct_io.os, "writev", send_less)
    memory = memoryview(mmap.mmap(-1, 3 * ALIGNMENT_BYTES))
    pieces = [b"a" * ALIGNMENT_BYTES, memory, b"b" * 17]
    digest, _ = write(tmp_path / "file", pieces)

    assert read(tmp_path / "file") == b"".join(pieces) + b"behind"
    assert digest == xxhash.xxh3_128_digest(b"".join(pieces))


@pytest.mark.skipif(not MEMORY.is_dir(), reason="there is no file system in memory here")
def test_a_file_system_without_direct_access_gets_the_same_bytes():
    path = MEMORY / f"direct-io-{os.getpid()}"
    try:
        digest, _ = write(path, [b"x" * (BLOCK_BYTES + 5)])
        assert read(path) == b"x" * (BLOCK_BYTES + 5) + b"behind"
        assert digest == xxhash.xxh3_128_digest(b"x" * (BLOCK_BYTES + 5))
    finally:
        path.unlink()


def test_a_refused_length_goes_through_the_cache(tmp_path, monkeypatch):
    # Some devices want blocks that are greater than a page.
    send = os.writev

    def refuse_direct(descriptor, parts):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return send(descriptor, parts)

    monkeypatch.setattr(direct_io.os, "writev", refuse_direct)
    write(tmp_path / "file", [b"y" * (2 * BLOCK_BYTES)])

    assert read(tmp_path / "file") == b"y" * (2 * BLOCK_BYTES) + b"behind"


def test_another_error_is_raised(tmp_path, monkeypatch):
    def fail(descriptor, parts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(direct_io.os, "writev", fail)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "file", [b"z" * BLOCK_BYTES])
