"""What runs the models: ONNX Runtime in this process, or a TorchServe process beside it."""

from __future__ import annotations

from services.serving.backends.onnx import OnnxBackend
from services.serving.backends.protocol import Backend
from services.serving.backends.torchserve import TorchServeBackend
from services.serving.settings import ServingSettings


def create_backend(settings: ServingSettings) -> Backend:
    """The back end that the settings name, at work."""
    if settings.backend == "onnx":
        return OnnxBackend(settings.model_threads)
    return TorchServeBackend(
        settings.work_folder / "torchserve",
        workers=settings.model_workers,
        threads=settings.model_threads,
        answer_seconds=settings.answer_seconds,
        load_seconds=settings.load_seconds,
        max_body_bytes=settings.max_body_bytes,
    )
