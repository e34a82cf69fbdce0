"""The digest of what a model consists of."""

from __future__ import annotations

import hashlib
from pathlib import Path


def artifact_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; of a folder, that of its ``sha256sum`` listing.

    The listing has one line a file, ``digest  relative/path``, sorted by path; so names count, and
    times and permissions don't.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    names = sorted(file.relative_to(path).as_posix() for file in _files(path))
    lines = (f"{artifact_digest(path / name)}  {name}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def artifact_size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in _files(path))


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]
