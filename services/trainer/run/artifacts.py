"""Artifacts fetched once: kept by digest, verified on every use, unpacked on demand."""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path

from utils.service.clients.registry import RegistryClient
from utils.service.packing import unpack

log = logging.getLogger(__name__)


class ArtifactCache:
    """The artifacts that this machine's jobs have fetched.

    Args:
        registry: where they come from.
        folder: shared by the jobs of this machine, one file a digest.
        work: of this job alone, for what is unpacked.
        max_bytes: the largest that is unpacked.
    """

    def __init__(self, registry: RegistryClient, folder: Path, work: Path, max_bytes: int) -> None:
        self._registry = registry
        self._folder = folder
        self._work = work
        self._max_bytes = max_bytes

    def file(self, digest: str) -> Path:
        """An artifact as a file, from here where it is whole, else from the registry."""
        path = self._folder / digest
        if path.exists():
            if _digest_of(path) == digest:
                return path
            log.warning("The kept copy of %s is damaged; it is fetched again.", digest)
        self._folder.mkdir(parents=True, exist_ok=True)
        # Under a name of its own: another job may be fetching the same one.
        arriving = self._folder / f".{digest}.{secrets.token_hex(4)}"
        return self._registry.download(digest, arriving).replace(path)

    def unpacked(self, digest: str) -> Path:
        """An artifact that is a packed folder, unpacked for this job."""
        target = self._work / "unpacked" / digest
        if not target.exists():
            unpack(self.file(digest), target, max_bytes=self._max_bytes)
        return target

    def unpacked_file(self, archive: Path) -> Path:
        """A packed folder that lies in the data folder, unpacked for this job."""
        target = self._work / "unpacked" / _digest_of(archive)
        if not target.exists():
            unpack(archive, target, max_bytes=self._max_bytes)
        return target


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
