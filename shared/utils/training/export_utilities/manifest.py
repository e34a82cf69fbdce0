"""The manifest: every file's digest, the library versions, and how close each format came."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from utils.training import __version__

NAME = "MANIFEST.json"
_LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxscript", "tokenizers", "torch", "transformers")


def write_manifest(folder: Path, formats: dict[str, Any], failures: dict[str, str]) -> None:
    """Write ``MANIFEST.json`` over everything that lies in the bundle.

    It holds no time, so that a model that is exported twice has one digest.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    write_json(
        folder / NAME,
        {
            "manifest_version": 1,
            "training_engine": __version__,
            "libraries": installed_versions(),
            "formats": formats,
            "failed_formats": failures,
            "files": {
                str(path.relative_to(folder)): {
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "bytes": path.stat().st_size,
                }
                for path in files
            },
        },
    )


def installed_versions() -> dict[str, str]:
    """The versions of the libraries that an export depends on; one not installed is left out."""
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def write_json(path: Path, document: Any) -> None:
    """Write JSON for people and for digests: indented, keys in the given order."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
