"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

_SUFFIX = ".partial"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside ``path`` that takes its name once it is on disk.

    The body writes; on success the file is fsynced, renamed and its folder fsynced. On any error,
    an interrupt included, it is removed and ``path`` stays what it was.

    Raises:
        OSError: the folder can't be written to, or the disk is full.
    """
    temporary, file = _create_beside(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def remove_leftovers(folder: Path, names: str) -> None:
    """Delete what dead writers of ``names`` (a pattern) left; a living writer's file stays.

    A writer holds a lock on its file, and the kernel drops it when the writer dies; unlike a
    process id this also holds between containers that share the folder.
    """
    for leftover in folder.glob(f".{names}.*{_SUFFIX}"):
        with suppress(OSError), leftover.open("r+b") as file:  # locked, or gone meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()
            logger.info("Removed %s, which an interrupted save left behind.", leftover)


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
        file = temporary.open("xb", buffering=1 << 20)
        with suppress(OSError):  # a file system without locks: a leftover then stays for good
            fcntl.flock(file, fcntl.LOCK_EX)
        # Between its creation and its lock the file looks like a dead writer's.
        if temporary.exists():
            return temporary, file
        file.close()


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
