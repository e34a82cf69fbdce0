"""Blocks past the page cache: the same bytes, whatever the file system can do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.training.engine.checkpoint import direct_io
from utils.training.engine.checkpoint.direct_io import BLOCK_BYTES, BlockWriter, read_blocks

MEMORY = Path("/dev/shm")


def write(path, pieces):
    with path.open("xb") as file:
        writer = BlockWriter(file.fileno())
        for piece in pieces:
            writer.write(piece)
        digest = writer.finish()
        file.write(b"behind")
    return digest, writer.num_bytes


def read(path, *, past_cache=True):
    with path.open("rb") as file:
        return b"".join(bytes(block) for block in read_blocks(file.fileno(), past_cache=past_cache))


@pytest.mark.parametrize("past_cache", [True, False])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
    sent = os.write

    def refuse_direct(descriptor, data):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return sent(descriptor, data)

    monkeypatch.setattr(direct_io.os, "write", refuse_direct)
    write(tmp_path / "file", [b"y" * (2 * BLOCK_BYTES)])

    assert read(tmp_path / "file") == b"y" * (2 * BLOCK_BYTES) + b"behind"


def test_another_error_is_raised(tmp_path, monkeypatch):
    def fail(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(direct_io.os, "write", fail)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "file", [b"z" * BLOCK_BYTES])
