"""A content-addressed store of files: each under the SHA-256 of its bytes.

Uploads are staged on local disk, so that a broken one goes on where it stopped; a file enters the
store whole and verified or not at all. The store is a folder or any fsspec URL such as ``s3://``.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import fsspec

from utils.training.errors import TrainingError

CHUNK_BYTES = 1024 * 1024
_DIGEST = re.compile("[0-9a-f]{64}")


class UnknownArtifactError(TrainingError, LookupError):
    """No artifact has this digest."""


class ArtifactError(TrainingError, ValueError):
    """Bytes that don't fit what was announced: another digest, too large, a wrong offset."""


class ArtifactStore:
    """Artifacts by digest.

    Args:
        url: a folder, or an fsspec URL.
        staging: a local folder for uploads under way.
        max_bytes: the largest artifact that is taken.
    """

    def __init__(self, url: str, staging: Path, max_bytes: int) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")
        self._staging = staging
        self._max_bytes = max_bytes
        staging.mkdir(parents=True, exist_ok=True)
        self._files.makedirs(self._root, exist_ok=True)

    def has(self, digest: str) -> bool:
        """True where the artifact is here, whole."""
        return bool(self._files.exists(self._path(digest)))

    def size(self, digest: str) -> int:
        """The artifact's size in bytes.

        Raises:
            UnknownArtifactError: a LookupError; it is not here.
        """
        try:
            return int(self._files.size(self._path(digest)))
        except FileNotFoundError:
            raise UnknownArtifactError(f"No artifact has the digest {digest}.") from None

    def read(self, digest: str, start: int = 0) -> Iterator[bytes]:
        """The artifact's bytes from ``start`` on, in chunks.

        Raises:
            UnknownArtifactError: a LookupError; it is not here.
        """
        self.size(digest)
        return self._chunks(self._path(digest), start)

    def staged_bytes(self, digest: str) -> int:
        """How much of an unfinished upload is here: where to go on."""
        part = self._part(digest)
        return part.stat().st_size if part.exists() else 0

    def append(
        self, digest: str, offset: int, chunks: Iterable[bytes], length: int | None = None
    ) -> int:
        """Add bytes to an upload, and return how many are staged now.

        ``length`` is the artifact's announced size, where it is known: no more is read than that.

        Raises:
            ArtifactError: a ValueError; the offset is not where the upload stands, somebody else is
                uploading it now, or it grows past the limit (it is dropped then).
        """
        _check_offset(offset, self.staged_bytes(digest))  # a wrong one leaves no empty file
        with self._part(digest).open("ab") as part:
            self._lock(part, digest)
            staged = part.seek(0, 2)
            _check_offset(offset, staged)
            limit = self._max_bytes if length is None else min(length, self._max_bytes)
            for chunk in chunks:
                staged += len(chunk)
                if staged > limit:
                    self._part(digest).unlink()
                    raise ArtifactError(
                        f"The upload is larger than {limit} bytes, which is what was announced or "
                        "the limit here; it is dropped."
                    )
                part.write(chunk)
        return staged

    def commit(self, digest: str) -> int:
        """Verify a finished upload, take it into the store, and return its size in bytes.

        Raises:
            ArtifactError: a ValueError; the bytes have another digest (they are dropped).
        """
        part = self._part(digest)
        if not part.exists():
            return self.size(digest)
        with part.open("rb") as file:
            self._lock(file, digest)
            actual = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            if actual != digest:
                part.unlink()
                raise ArtifactError(
                    f"The bytes have the digest {actual}, announced was {digest}; send them again."
                )
            self._take_in(part, self._path(digest))
        return size

    def verify(self, digest: str) -> bool:
        """Read the stored bytes again and compare their digest."""
        actual = hashlib.sha256()
        for chunk in self.read(digest):
            actual.update(chunk)
        return actual.hexdigest() == digest

    def remove(self, digest: str) -> int:
        """Remove an artifact, and return its size in bytes; 0 where it is not here."""
        path = self._path(digest)
        try:
            size = int(self._files.size(path))
            self._files.rm_file(path)
        except FileNotFoundError:
            return 0
        return size

    def _take_in(self, part: Path, path: str) -> None:
        """Copy beside the final name, then rename: no reader ever sees half a file."""
        arriving = f"{path}.arriving"
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(part), arriving)
        self._files.mv(arriving, path)
        part.unlink()

    def _chunks(self, path: str, start: int) -> Iterator[bytes]:
        with self._files.open(path, "rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _path(self, digest: str) -> str:
        _check(digest)
        return f"{self._root}/{digest[:2]}/{digest}"

    def _part(self, digest: str) -> Path:
        _check(digest)
        return self._staging / f"{digest}.part"

    @staticmethod
    def _lock(file: IO[Any], digest: str) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"Somebody else is uploading {digest} now; try again later."
            ) from None


def _check_offset(offset: int, staged: int) -> None:
    if offset != staged:
        raise ArtifactError(
            f"The offset is {offset}, and {staged} bytes are here; go on from there."
        )


def _check(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise ArtifactError(
            f"{digest[:80]!r} is no digest; give 64 hexadecimal digits of a SHA-256."
        )
