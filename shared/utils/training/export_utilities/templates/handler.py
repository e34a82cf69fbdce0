"""TorchServe's handler: ONNX Runtime first, TorchScript where there is no ONNX model.

A request holds tensors (``{"inputs": [{name, shape, datatype, data}]}``, the Open Inference
Protocol) and gets ``outputs``, or examples (``{"instances": [...]}``) and gets ``predictions``.
A client's fault is answered 400 with one sentence, and costs the rest of the batch nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from preprocessing import InputError, Task, answer
from runtimes import FILES, load


class BundleHandler:
    """One worker's model."""

    def __init__(self) -> None:
        self.initialized = False

    def initialize(self, context) -> None:
        """Load the task and the model from the unpacked archive."""
        folder = Path(context.system_properties["model_dir"])
        self.task = Task(
            folder / "task_spec.json", folder / "signature.json", folder / "tokenizer.json"
        )
        kind = next(kind for kind in ("onnx", "torchscript") if (folder / FILES[kind]).exists())
        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self.run = load(folder, kind, threads)
        self.initialized = True

    def handle(self, data: list, context) -> list:
        """Answer a batch of requests, each on its own."""
        return [self._answer(request, context, i) for i, request in enumerate(data)]

    def _answer(self, request: dict, context, i: int) -> dict:
        try:
            return answer(self.task, self.run, _document(request))
        except InputError as fault:
            context.set_response_status(code=400, idx=i)
            return {"detail": str(fault)}


def _document(request: dict) -> dict:
    body = request.get("body", request.get("data"))
    if isinstance(body, bytes | bytearray | str):
        try:
            body = json.loads(body)
        except ValueError:
            raise InputError("The body is no JSON.") from None
    if not isinstance(body, dict):
        raise InputError('The body is no JSON object with "inputs" or "instances".')
    return body
