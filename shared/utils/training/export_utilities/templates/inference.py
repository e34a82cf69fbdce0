"""Run the model on a file, and print one JSON answer an example.

    python inference.py --input FILE [--format onnx|torchscript|pytorch]

A text file holds one example a line; an image file is one example; a JSON, JSON-lines or CSV file
holds a list of examples or rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from preprocessing import InputError, Task, read_examples  # noqa: E402 - beside this file
from runtimes import FILES, load  # noqa: E402


def main() -> int:
    """Parse, encode, run, decode, print; a fault is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, help="the file to run on")
    parser.add_argument("--format", choices=FILES, default="onnx", help="which of the models")
    arguments = parser.parse_args()
    task = Task(
        HERE / "configs" / "task_spec.json",
        HERE / "signature.json",
        HERE / "tokenizer" / "tokenizer.json",
    )
    try:
        inputs = task.encode(read_examples(arguments.input, task.modality))
        logits = load(HERE / "artifacts", arguments.format)(inputs)
    except (InputError, FileNotFoundError) as fault:
        print(fault, file=sys.stderr)
        return 2
    for answer in task.decode(logits, inputs):
        print(json.dumps(answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
