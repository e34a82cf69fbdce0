"""The jobs' logs: one bounded file a job, written by its trainers and read from any offset."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

_PIECE_BYTES = 256 * 1024


class LogFiles:
    """Logs by job id, under one folder.

    Args:
        folder: where they lie; replicas share it.
        max_bytes: of one job; what comes after is left out, and the log's last line says so.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, job_id: int, text: str, key: str | None = None) -> int:
        """Add text at the end, and return the log's size in bytes.

        A chunk that comes again under the key of the last one is there already.
        """
        with self._locked(job_id) as log:
            size = log.seek(0, os.SEEK_END)
            last = self._folder / f"{job_id}.last"
            if size < self._max_bytes and (key is None or not _holds(last, key)):
                log.write(self._bounded(text.encode(), self._max_bytes - size))
                if key is not None:
                    last.write_text(key, encoding="utf-8")
            return log.tell()

    def read(self, job_id: int, offset: int) -> tuple[bytes, int]:
        """A piece of a log, and the offset behind it; a negative offset counts from the end.

        A piece that is not the last one ends with a whole line, where it has one.
        """
        try:
            with self._path(job_id).open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                start = max(0, size + offset) if offset < 0 else min(offset, size)
                log.seek(start)
                piece = log.read(_PIECE_BYTES)
        except FileNotFoundError:
            return b"", 0
        if start + len(piece) < size:
            piece = piece[: piece.rfind(b"\n") + 1] or piece
        return piece, start + len(piece)

    def delete_unchanged_since(self, time: datetime) -> None:
        """Delete the logs that were last written to before ``time``."""
        for path in self._folder.glob("*.l*"):
            with suppress(FileNotFoundError):  # another replica was faster
                if path.stat().st_mtime < time.timestamp():
                    path.unlink()

    def _bounded(self, data: bytes, room: int) -> bytes:
        if len(data) <= room:
            return data
        kept = data[:room].decode(errors="ignore")
        note = f"\nThe log has reached {self._max_bytes} bytes; what follows is left out.\n"
        return (kept + note).encode()

    @contextmanager
    def _locked(self, job_id: int) -> Iterator[BinaryIO]:
        with self._path(job_id).open("ab") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            yield log

    def _path(self, job_id: int) -> Path:
        return self._folder / f"{job_id}.log"


def _holds(path: Path, key: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == key
