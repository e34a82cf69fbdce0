"""What a version takes and gives, read once from its bundle."""

from __future__ import annotations

import copy
import json
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from services.serving.backends.protocol import UnavailableError, Version
from services.serving.catalogue import Catalogue
from utils.training.export_utilities.templates.preprocessing import Task
from utils.training.task_spec import TaskSpec

_PLATFORMS = {"model.onnx": "onnx_onnxv1", "model.torchscript.pt": "pytorch_torchscript"}
_CLASS_LOGITS = 2  # dimensions: batch, classes


@dataclass(frozen=True)
class Contract:
    """A bundle's signature, its task, and how examples become tensors."""

    task: Task
    spec: TaskSpec
    platform: str

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The tensors that it takes, as ``signature.json`` has them."""
        tensors: list[dict[str, Any]] = self.task.signature["inputs"]
        return tensors

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The tensors that it gives."""
        tensors: list[dict[str, Any]] = self.task.signature["outputs"]
        return tensors

    @property
    def gives_class_logits(self) -> bool:
        """True where an answer is one row of logits [classes] an example."""
        return len(self.outputs[0]["shape"]) == _CLASS_LOGITS

    @cached_property
    def unnormalized(self) -> Task:
        """The task with images left in the scale of the training data."""
        task = copy.copy(self.task)
        task.spec = self.task.spec | {"image_mean": None, "image_std": None}
        return task

    @classmethod
    def of(cls, version: Version) -> Contract:
        """Read a version's bundle.

        Raises:
            UnavailableError: a RuntimeError; the bundle is gone, for the version is.
        """
        configs = version.folder / "configs" / "task_spec.json"
        try:
            task = Task(
                configs,
                version.folder / "signature.json",
                version.folder / "tokenizer" / "tokenizer.json",
            )
            spec = TaskSpec.from_dict(json.loads(configs.read_text(encoding="utf-8")))
        except OSError as error:
            raise UnavailableError(f"{version} is not loaded.") from error
        artifacts = version.folder / "artifacts"
        platform = next(
            (name for file, name in _PLATFORMS.items() if (artifacts / file).exists()), "unknown"
        )
        return cls(task, spec, platform)


class Contracts:
    """The contracts of the versions that are served."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._known: dict[Version, Contract] = {}

    def known(self, version: Version) -> Contract | None:
        """A version's contract where a request has read it."""
        return self._known.get(version)

    def of(self, version: Version) -> Contract:
        """A version's contract; the first request of a version reads it.

        Raises:
            UnavailableError: a RuntimeError; the version's bundle is gone.
        """
        known = self._known.get(version)
        if known is not None:
            return known
        with self._lock:
            if version not in self._known:
                contract = Contract.of(version)
                served = {
                    v for name in self._catalogue.names() for v in self._catalogue.versions(name)
                }
                kept = {v: c for v, c in self._known.items() if v in served}
                self._known = kept | {version: contract}
            return self._known[version]
