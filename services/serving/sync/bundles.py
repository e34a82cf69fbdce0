"""Bundles on this machine's disk: fetched by digest, verified, there whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from services.serving.backends.protocol import Version
from services.serving.sync.verification import BundleError, verify_bundle
from utils.service.clients.registry import RegistryClient
from utils.service.packing import unpack
from utils.training.model_registry.records import RegisteredModel

log = logging.getLogger(__name__)

_DOCUMENT = "version.json"


class Bundles:
    """The folder of the versions that are served.

    ``versions/<model id>/`` holds a verified bundle and ``version.json``, which is written last:
    without it a folder counts as nothing. ``current.json`` names the versions that answered last.

    Args:
        folder: of this replica alone.
        registry: where bundles come from.
        max_bytes: the largest that is unpacked.
    """

    def __init__(self, folder: Path, registry: RegistryClient, max_bytes: int) -> None:
        self._versions = folder / "versions"
        self._arriving = folder / "arriving"
        self._current = folder / "current.json"
        self._registry = registry
        self._max_bytes = max_bytes
        for path in (self._versions, self._arriving):
            path.mkdir(parents=True, exist_ok=True)

    def fetch(self, model: RegisteredModel) -> Version:
        """A registered model's bundle, downloaded unless it is here.

        Raises:
            BundleError: a ValueError; the model has no bundle, or a broken one.
            PackingError: a ValueError; the archive is none of ours.
            DigestError: a RuntimeError; other bytes came.
            RemoteError: the registry refused.
            httpx.TransportError: the connection broke; the next call goes on where it did.
        """
        if model.artifact_digest is None:
            raise BundleError(f"{model.name} {model.version} has no bundle in the registry.")
        wanted = Version(
            name=model.name,
            version=model.version,
            model_id=model.model_id,
            digest=model.artifact_digest,
            folder=self._home(model.model_id) / "bundle",
        )
        if not self._has(wanted):
            self._download(wanted)
        return wanted

    def last_served(self) -> list[Version]:
        """The versions that answered when the service last ran and are still whole."""
        known = [self._read(model_id) for model_id in self._last_ids()]
        return [version for version in known if version is not None and self._has(version)]

    def remember(self, versions: Iterable[Version]) -> None:
        """Note which versions answer now, for a start without the registry."""
        ids = sorted(version.model_id for version in versions)
        _write(self._current, json.dumps(ids))

    def remove(self, version: Version) -> None:
        """Delete a version's folder."""
        home = self._home(version.model_id)
        (home / _DOCUMENT).unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)

    def keep_only(self, versions: Iterable[Version]) -> None:
        """Delete the folders of all versions but these, and downloads that were given up."""
        kept = {str(version.model_id) for version in versions}
        for home in self._versions.iterdir():
            if home.name not in kept:
                shutil.rmtree(home, ignore_errors=True)
        for path in self._arriving.iterdir():
            path.unlink(missing_ok=True)

    def _download(self, version: Version) -> None:
        archive = self._arriving / version.digest
        self._registry.download(version.digest, archive)
        try:
            self.remove(version)
            unpack(archive, version.folder, max_bytes=self._max_bytes)
            verify_bundle(version.folder)
        except Exception:
            self.remove(version)
            raise
        finally:
            archive.unlink(missing_ok=True)
        facts = {"name": version.name, "version": version.version, "digest": version.digest}
        _write(self._home(version.model_id) / _DOCUMENT, json.dumps(facts))

    def _has(self, version: Version) -> bool:
        """True where a version is here with all its bytes."""
        if self._read(version.model_id) != version:
            return False
        try:
            verify_bundle(version.folder)
        except BundleError as error:
            log.warning("%s is fetched again: %s", version, error)
            return False
        return True

    def _read(self, model_id: int) -> Version | None:
        """A version whose folder is complete, or None."""
        home = self._home(model_id)
        try:
            facts = json.loads((home / _DOCUMENT).read_text(encoding="utf-8"))
            return Version(model_id=model_id, folder=home / "bundle", **facts)
        except (OSError, ValueError, TypeError):
            return None

    def _last_ids(self) -> list[int]:
        try:
            ids = json.loads(self._current.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [int(model_id) for model_id in ids]

    def _home(self, model_id: int) -> Path:
        return self._versions / str(model_id)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
