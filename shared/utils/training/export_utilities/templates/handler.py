"""TorchServe's handler: ONNX Runtime first, TorchScript where there is no ONNX model.

A request holds tensors (``{"inputs": [{name, shape, datatype, data}]}``, the Open Inference
Protocol) and gets ``outputs``, or examples (``{"instances": [...]}``) and gets ``predictions``.
A client's fault is answered 400 with one sentence, and costs the rest of the batch nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from preprocessing import InputError, Task
from runtimes import FILES, load

KINDS = {"INT64": np.int64, "FP32": np.float32}


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
        self.run = load(folder, kind)
        self.initialized = True

    def handle(self, data: list, context) -> list:
        """Answer a batch of requests, each on its own."""
        return [self._answer(request, context, i) for i, request in enumerate(data)]

    def _answer(self, request: dict, context, i: int) -> dict:
        try:
            document = _document(request)
            if "inputs" in document:
                return self._tensors(document["inputs"])
            inputs = self.task.encode(_instances(document))
            logits = self.run(inputs)
        except InputError as fault:
            context.set_response_status(code=400, idx=i)
            return {"detail": str(fault)}
        return {"predictions": self.task.decode(logits, inputs)}

    def _tensors(self, tensors: object) -> dict:
        logits = self.run(parse_tensors(tensors, self.task.signature["inputs"]))
        return {
            "outputs": [
                {
                    "name": "logits",
                    "shape": list(logits.shape),
                    "datatype": "FP32",
                    "data": logits.ravel().tolist(),
                }
            ]
        }


def parse_tensors(tensors: object, specs: list[dict]) -> dict[str, np.ndarray]:
    """Read a request's tensors, in the order and of the shapes that the signature names."""
    if not isinstance(tensors, list) or not all(isinstance(t, dict) for t in tensors):
        raise InputError('"inputs" is a list of tensors, each with name, shape, datatype and data.')
    given = {tensor.get("name"): tensor for tensor in tensors}
    arrays = {spec["name"]: _parse(given.get(spec["name"]), spec) for spec in specs}
    if len({len(array) for array in arrays.values()}) != 1:
        raise InputError("The tensors differ in their first dimension, the batch.")
    return arrays


def _parse(tensor: dict | None, spec: dict) -> np.ndarray:
    if tensor is None:
        raise InputError(f"The tensor {spec['name']} is missing.")
    if tensor.get("datatype") != spec["datatype"]:
        raise InputError(
            f"{spec['name']} has the datatype {tensor.get('datatype')}, "
            f"expected {spec['datatype']}."
        )
    try:
        array = np.array(tensor["data"], dtype=KINDS[spec["datatype"]]).reshape(tensor["shape"])
    except (KeyError, ValueError, TypeError, OverflowError):
        raise InputError(f"{spec['name']}'s data does not fit its shape and datatype.") from None
    if not fits(array.shape, spec):
        raise InputError(
            f"{spec['name']} has the shape {list(array.shape)}, expected {spec['shape']}."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{spec['name']} holds NaN or Inf.")
    low, high = spec.get("range", (None, None))
    if low is not None and (array.min() < low or array.max() > high):
        raise InputError(f"{spec['name']} holds values outside {low} to {high}.")
    return array


def fits(shape: tuple[int, ...], spec: dict) -> bool:
    """True where the signature allows a shape; a named dimension is free up to its limit."""
    if len(shape) != len(spec["shape"]) or 0 in shape:
        return False
    limits = spec.get("limits", {})
    return all(
        size <= limits.get(wanted, size) if isinstance(wanted, str) else size == wanted
        for size, wanted in zip(shape, spec["shape"], strict=True)
    )


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


def _instances(document: dict) -> list:
    if not isinstance(document.get("instances"), list):
        raise InputError('The body lacks "inputs" and "instances".')
    return document["instances"]
