"""A folder as one file and back: the same bytes for the same content, nothing outside it."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from utils.training.errors import TrainingError

MAX_FILES = 1_000_000  # and folders, of an archive


class PackingError(TrainingError, ValueError):
    """An archive that is not one of ours, or would do harm when unpacked."""


def pack(folder: Path, target: Path) -> str:
    """Write a folder's files as a tar with fixed owners and times, and return its SHA-256.

    Links to files are followed, as caches of data sets are full of them.

    Raises:
        PackingError: a ValueError; the folder holds what :func:`unpack` would refuse. The target
            may have been begun.
    """
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT, dereference=True) as archive:
        for number, path in enumerate(sorted(folder.rglob("*")), 1):
            if number > MAX_FILES:
                raise PackingError(f"{folder} holds more than {MAX_FILES:,} files, the limit.")
            if path.is_symlink() and not path.is_file():
                raise PackingError(f"{path} is a link to no file; put what is meant in its place.")
            archive.add(
                path, arcname=str(path.relative_to(folder)), recursive=False, filter=_without_origin
            )
            _forget_members(archive)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path, *, max_bytes: int, max_files: int = MAX_FILES) -> None:
    """Unpack a tar of plain files and folders into a new or empty folder.

    Raises:
        PackingError: a ValueError; the archive is damaged, too large, of too many files, or holds a
            link, a device or a path that leads outside. Nothing of a refused archive is left.
    """
    try:
        for _ in _members(archive, max_bytes, max_files):
            pass  # all are looked at before the first is written
        folder.mkdir(parents=True, exist_ok=True)
        for file, member in _members(archive, max_bytes, max_files):
            _write(file, member, folder / member.name)
    except tarfile.TarError as error:
        raise PackingError(f"{archive.name} can't be unpacked: {error}.") from error


def _members(
    archive: Path, max_bytes: int, max_files: int
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    count = total = 0
    with tarfile.open(archive, "r:") as file:
        while (member := file.next()) is not None:
            _forget_members(file)
            count += 1
            total += member.size
            if total > max_bytes or count > max_files:
                raise PackingError(
                    f"The archive holds more than {max_bytes} bytes or {max_files} files, "
                    "the limits here."
                )
            _require_plain(member)
            if member.name.startswith("/") or ".." in Path(member.name).parts:
                raise PackingError(
                    f"The archive holds {member.name!r}, which leads out of its folder."
                )
            yield file, member


def _forget_members(file: tarfile.TarFile) -> None:
    """Let go of what the file keeps for listings: half a gigabyte for a million members."""
    file.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out


def _require_plain(member: tarfile.TarInfo) -> None:
    if not (member.isreg() or member.isdir()):
        raise PackingError(
            f"The archive holds {member.name!r}, which is no plain file or folder; "
            "put a copy of the file in its place."
        )


def _write(file: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write a member that was checked: ``extractall`` has no filters before Python 3.11.4."""
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = file.extractfile(member)
    assert content is not None
    with content, path.open("wb") as target:
        shutil.copyfileobj(content, target)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _without_origin(member: tarfile.TarInfo) -> tarfile.TarInfo:
    _require_plain(member)
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
