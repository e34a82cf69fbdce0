"""Run the model in one of the bundle's formats; each takes and gives NumPy arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[[dict[str, np.ndarray]], np.ndarray]

FILES = {
    "onnx": "model.onnx",
    "torchscript": "model.torchscript.pt",
    "pytorch": "model.pytorch.pt",
}


def load(artifacts: Path, kind: str, threads: int = 1) -> Run:
    """Load a format: ``onnx``, ``torchscript`` or ``pytorch``.

    Raises:
        FileNotFoundError: the bundle does not hold this format.
    """
    path = artifacts / FILES[kind]
    if not path.exists():
        held = [name for name, file in FILES.items() if (artifacts / file).exists()]
        raise FileNotFoundError(f"The bundle holds no {kind} model; it holds {', '.join(held)}.")
    return {"onnx": _onnx, "torchscript": _torchscript, "pytorch": _pytorch}[kind](path, threads)


def _onnx(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(["logits"], inputs)[0]


def _torchscript(path: Path, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript itself is deprecated
        model = torch.jit.load(str(path), map_location="cpu").eval()
    return _torch_run(model)


def _pytorch(path: Path, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    with path.open("rb") as file:  # by name it would want the ending .pt2
        program = torch.export.load(file)
    return _torch_run(program.module())


def _torch_run(model: Callable) -> Run:
    import torch

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            return model(*(torch.from_numpy(array) for array in inputs.values())).numpy()

    return run
