"""ONNX Runtime in this process: one session a version, no other process, no Java."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.serving.backends.protocol import (
    Arrays,
    InputRefusedError,
    LoadError,
    UnavailableError,
    Version,
)
from services.serving.backends.warm_up import warm_up
from utils.training.export_utilities.templates.preprocessing import InputError, Task, answer
from utils.training.export_utilities.templates.runtimes import Run, load


@dataclass(frozen=True)
class _Model:
    task: Task
    run: Run

    def answer(self, document: dict[str, Any]) -> dict[str, Any]:
        try:
            return answer(self.task, self.run, document)
        except InputError as fault:
            raise InputRefusedError(str(fault)) from fault


class OnnxBackend:
    """Answers by the code that bundles are made of, as this installation has it.

    Args:
        threads: that compute one answer.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._models: dict[Version, _Model] = {}

    def load(self, version: Version) -> None:
        """Open a session, and let it give the bundle's expected output.

        Raises:
            LoadError: a RuntimeError; the bundle has no ONNX model, or it is broken.
        """
        folder = version.folder
        try:
            task = Task(
                folder / "configs" / "task_spec.json",
                folder / "signature.json",
                folder / "tokenizer" / "tokenizer.json",
            )
            model = _Model(task, load(folder / "artifacts", "onnx", self._threads))
            warm_up(version, "onnx", model.answer)
        except LoadError:
            raise
        except Exception as error:  # a broken bundle may fail anywhere
            raise LoadError(f"{version} can't be loaded: {error}") from error
        self._models[version] = model

    def answer(self, version: Version, document: dict[str, Any]) -> dict[str, Any]:
        """Answer one request in the caller's own thread.

        Raises:
            InputRefusedError: a ValueError; the client's fault.
            UnavailableError: a RuntimeError; the version is not loaded.
        """
        return self._model(version).answer(document)

    def infer(self, version: Version, inputs: Arrays) -> NDArray[np.float32]:
        """Run the model in the caller's own thread.

        Raises:
            UnavailableError: a RuntimeError; the version is not loaded.
        """
        logits: NDArray[np.float32] = self._model(version).run(inputs)
        return logits

    def unload(self, version: Version) -> None:
        """Let go of a version's session."""
        self._models.pop(version, None)

    def check(self) -> None:
        """Nothing can be away: the models are in this process."""

    def close(self) -> None:
        """Let go of all sessions."""
        self._models.clear()

    def _model(self, version: Version) -> _Model:
        model = self._models.get(version)
        if model is None:
            raise UnavailableError(f"{version} is not loaded.")
        return model
