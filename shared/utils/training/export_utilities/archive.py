"""TorchServe's model archive: a zip with a manifest, the same bytes for the same content."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from utils.training.export_utilities.templates.runtimes import FILES

TEMPLATES = Path(__file__).parent / "templates"
_CODE = ("handler.py", "binary_tensors.py", "preprocessing.py", "runtimes.py")
_TIME = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest


def archive_members(bundle: Path) -> dict[str, Path] | None:
    """What a bundle's archive holds, by the names there: this library's handler, no other code.

    None where the bundle has neither an ONNX nor a TorchScript model.
    """
    code = {name: TEMPLATES / name for name in _CODE}
    facts = {
        "signature.json": bundle / "signature.json",
        "task_spec.json": bundle / "configs" / "task_spec.json",
        "tokenizer.json": bundle / "tokenizer" / "tokenizer.json",
    }
    models = {FILES[kind]: bundle / "artifacts" / FILES[kind] for kind in ("onnx", "torchscript")}
    model = next((name for name, path in models.items() if path.exists()), None)
    if model is None:
        return None
    present = {name: path for name, path in facts.items() if path.exists()}
    return code | present | {model: models[model]}


def write_archive(path: Path, name: str, version: str, members: dict[str, Path]) -> None:
    """Write a ``.mar`` of the given files, flat as TorchServe wants them.

    Args:
        path: the archive's own path.
        name: the model's name in TorchServe.
        version: its version there.
        members: the files by their names in the archive; ``handler.py`` is among them.
    """
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": name,
            "modelVersion": version,
            "handler": "handler.py",
            "serializedFile": "model.onnx" if "model.onnx" in members else "model.torchscript.pt",
        },
        "archiverVersion": "0.12.0",  # the format's version that this is
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "MAR-INF/MANIFEST.json", json.dumps(manifest, indent=2).encode())
        for member, source in sorted(members.items()):
            _add(archive, member, source.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)
