"""A folder as one file and back: the same bytes for the same content, nothing outside it."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

from utils.training.errors import TrainingError


class PackingError(TrainingError, ValueError):
    """An archive that is not one of ours, or would do harm when unpacked."""


def pack(folder: Path, target: Path) -> str:
    """Write a folder's files as a tar with fixed owners and times, and return its SHA-256."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(
                path, arcname=str(path.relative_to(folder)), recursive=False, filter=_without_origin
            )
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path, *, max_bytes: int, max_files: int = 10_000) -> None:
    """Unpack a tar of plain files and folders into a new or empty folder.

    Raises:
        PackingError: a ValueError; the archive is damaged, too large, of too many files, or holds a
            link, a device or a path that leads outside. Nothing of a refused archive is left.
    """
    try:
        with tarfile.open(archive, "r:") as file:
            members = _checked(file, max_bytes, max_files)
            folder.mkdir(parents=True, exist_ok=True)
            for member in members:
                _write(file, member, folder / member.name)
    except tarfile.TarError as error:
        raise PackingError(f"{archive.name} can't be unpacked: {error}.") from error


def _checked(file: tarfile.TarFile, max_bytes: int, max_files: int) -> list[tarfile.TarInfo]:
    members, total = [], 0
    for member in file:
        total += member.size
        members.append(member)
        if total > max_bytes or len(members) > max_files:
            raise PackingError(
                f"The archive holds more than {max_bytes} bytes or {max_files} files, "
                "the limits here."
            )
        if not (member.isreg() or member.isdir()):
            raise PackingError(
                f"The archive holds {member.name!r}, which is no plain file or folder."
            )
        if member.name.startswith("/") or ".." in Path(member.name).parts:
            raise PackingError(f"The archive holds {member.name!r}, which leads out of its folder.")
    return members


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
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
