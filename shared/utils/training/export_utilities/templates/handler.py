"""TorchServe's handler: ONNX Runtime first, TorchScript where there is no ONNX model.

A request holds tensors (``{"inputs": [{name, shape, datatype, data}]}``, the Open Inference
Protocol) and gets ``outputs``, or examples (``{"instances": [...]}``) and gets ``predictions``.
Tensors that come as bytes, by the protocol's extension for binary data, go as bytes.
A client's fault is answered 400 with one sentence, and costs the rest of the batch nothing.

``HANDLER_LOG_LEVEL`` in the environment is for workers that shall not write lines about each
request, as TorchServe has it: ``WARNING``.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from binary_tensors import HEADER, pack, unpack
from preprocessing import InputError, Task, answer, check_tensors
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
        logging.getLogger().setLevel(os.environ.get("HANDLER_LOG_LEVEL", "INFO"))
        self.initialized = True

    def handle(self, data: list, context) -> list:
        """Answer a batch of requests, each on its own."""
        return [self._answer(request, context, i) for i, request in enumerate(data)]

    def _answer(self, request: dict, context, i: int) -> bytes | str:
        body = request.get("body", request.get("data"))
        length = _length_of_json(context.get_all_request_header(i))
        try:
            if length is None:
                return json.dumps(answer(self.task, self.run, _document(body)))
            outputs, length = pack("outputs", {"logits": self.run(self._inputs(body, length))})
            context.set_response_header(i, HEADER, str(length))
        except InputError as fault:
            context.set_response_status(code=400, idx=i)
            return json.dumps({"detail": str(fault)})
        else:
            return outputs

    def _inputs(self, body: object, length: str) -> dict:
        try:
            arrays = unpack("inputs", body, int(length))
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from error
        return check_tensors(arrays, self.task.signature["inputs"])


def _length_of_json(headers: dict) -> str | None:
    """What says that a request's tensors are bytes; None where they are JSON too."""
    return next((value for name, value in headers.items() if name.lower() == HEADER.lower()), None)


def _document(body: object) -> dict:
    if isinstance(body, bytes | bytearray | str):
        try:
            body = json.loads(body)
        except ValueError:
            raise InputError("The body is no JSON.") from None
    if not isinstance(body, dict):
        raise InputError('The body is no JSON object with "inputs" or "instances".')
    return body
