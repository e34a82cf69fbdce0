"""What runs the models: ONNX Runtime in this process, or a TorchServe process beside it."""

from __future__ import annotations

from services.serving.backends.onnx import OnnxBackend
from services.serving.backends.protocol import Backend
from services.serving.settings import ServingSettings


def create_backend(settings: ServingSettings) -> Backend:
    """The back end that the settings name, at work."""
    return OnnxBackend(settings.model_threads)
