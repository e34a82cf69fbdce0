"""Whether an unpacked bundle is what it was at its export; nothing of it is run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from utils.training.errors import TrainingError
from utils.training.export_utilities.manifest import NAME


class BundleError(TrainingError, ValueError):
    """A bundle that can't be trusted: files are missing, changed or more than its manifest says."""


def verify_bundle(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        BundleError: a ValueError; the message lists every fault.
    """
    listed = _listed_files(folder)
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    }
    faults = [f"{name} is not in the manifest." for name in sorted(present - {*listed, NAME})]
    for name, entry in listed.items():
        if name not in present:
            faults.append(f"{name} is missing.")
        elif _digest(folder / name) != entry["sha256"]:
            faults.append(f"{name} has other bytes than at export.")
    if faults:
        raise BundleError(f"The bundle is broken: {' '.join(faults)}")


def _listed_files(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        listed = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
        return {str(name): {"sha256": entry["sha256"]} for name, entry in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"The bundle has no {NAME} that can be read: {error!r}.") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
