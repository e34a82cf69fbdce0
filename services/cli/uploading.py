"""Data on its way into the artifact store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from utils.service.clients.registry import RegistryClient
from utils.service.packing import pack


def upload(registry: RegistryClient, path: Path) -> str:
    """Bring a file there, or a folder as a tar; return what jobs name it by."""
    if path.is_file():
        return f"artifact:{registry.upload(path)}"
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "data.tar"
        pack(path, archive)
        return f"artifact:{registry.upload(archive)}"
