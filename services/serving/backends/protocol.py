"""What serving asks of a back end, whatever runs the models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from utils.training.errors import TrainingError

Arrays = dict[str, NDArray[Any]]


class LoadError(TrainingError, RuntimeError):
    """A version that can't answer; the message says why."""


class InputRefusedError(TrainingError, ValueError):
    """A request that the model can't take: the client's fault, answered 400."""


class UnavailableError(TrainingError, RuntimeError):
    """The back end can't answer now; answered 503."""


class BackendBusyError(UnavailableError):
    """The back end's queue is full; the same request may succeed a moment later."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a name; ``folder`` is its unpacked bundle, verified."""

    name: str
    version: str
    model_id: int
    digest: str  # SHA-256 of the bundle
    folder: Path

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Backend(Protocol):
    """Runs any number of versions side by side; every method may be called from any thread."""

    def load(self, version: Version) -> None:
        """Make a version ready, and return once it gives its bundle's expected output.

        Raises:
            LoadError: a RuntimeError; it can't, and nothing of it is left behind.
            UnavailableError: a RuntimeError; the back end itself is away, whatever the version.
        """

    def answer(self, version: Version, document: dict[str, Any]) -> dict[str, Any]:
        """Answer ``inputs`` (tensors) with ``outputs``, ``instances`` with ``predictions``.

        Raises:
            InputRefusedError: a ValueError; the client's fault.
            UnavailableError: a RuntimeError; no answer can be had now.
        """

    def infer(self, version: Version, inputs: Arrays) -> NDArray[np.float32]:
        """The logits for tensors that fit the version's signature and were checked.

        Raises:
            InputRefusedError: a ValueError; the model can't take them.
            UnavailableError: a RuntimeError; no answer can be had now.
        """

    def unload(self, version: Version) -> None:
        """Let go of a version; one that is not loaded is no fault."""

    def check(self) -> None:
        """Raise where the back end can't answer."""

    def close(self) -> None:
        """Let go of everything."""
