"""Prove that the bundle is whole and that every model in it still answers as it did at export.

python verify.py [--files-only]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def check_files(manifest: dict) -> list[str]:
    """Compare every file with its digest; the faults as sentences."""
    faults = []
    for name, entry in manifest["files"].items():
        path = HERE / name
        if not path.is_file():
            faults.append(f"{name} is missing.")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            faults.append(f"{name} has other bytes than at export.")
    return faults


def check_answers(manifest: dict) -> list[str]:
    """Run every model on the sample input and compare with the expected output."""
    import numpy as np
    from runtimes import load

    inputs = read_tensors("sample_input.json")
    expected = read_tensors("expected_output.json")["logits"]
    faults = []
    for kind, entry in manifest["formats"].items():
        difference = float(np.abs(load(HERE / "artifacts", kind)(inputs) - expected).max())
        if not difference <= entry["tolerance"]:
            faults.append(
                f"{kind} differs by {difference:.3g}, allowed is {entry['tolerance']:.3g}."
            )
        print(f"{kind}: greatest difference {difference:.3g}")
    return faults


def read_tensors(name: str) -> dict:
    """Tensors of an Open Inference Protocol document, by name."""
    import numpy as np

    kinds = {"INT64": np.int64, "FP32": np.float32}
    tensors = json.loads((HERE / name).read_text(encoding="utf-8"))["tensors"]
    return {
        tensor["name"]: np.array(tensor["data"], dtype=kinds[tensor["datatype"]]).reshape(
            tensor["shape"]
        )
        for tensor in tensors
    }


def main() -> int:
    """Check files, then answers; print each fault, exit 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files-only", action="store_true", help="compare digests, run nothing")
    arguments = parser.parse_args()
    manifest = json.loads((HERE / "MANIFEST.json").read_text(encoding="utf-8"))
    faults = check_files(manifest)
    if not faults and not arguments.files_only:
        faults = check_answers(manifest)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(manifest['files'])} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
