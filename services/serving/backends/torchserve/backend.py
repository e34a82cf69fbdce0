"""The back end over TorchServe: which versions it holds, also after it died."""

from __future__ import annotations

import itertools
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.serving.backends.protocol import Arrays, LoadError, UnavailableError, Version
from services.serving.backends.torchserve.api import TorchServeApi
from services.serving.backends.torchserve.process import TorchServeProcess
from services.serving.backends.warm_up import warm_up
from utils.training.export_utilities.archive import archive_members, write_archive

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Model:
    """A version in TorchServe: a model of its own there, so that none is another's default."""

    name: str
    archive: Path


class TorchServeBackend:
    """Answers by TorchServe's workers.

    A version is registered asynchronously, polled until its workers are ready, and deleted only
    when the catalogue has no request for it: no request is lost by a switch. When TorchServe dies
    it is started again, and given again what it held.

    Args:
        home: a folder that it may empty.
        workers: processes of one version.
        threads: that compute one answer.
        answer_seconds: the longest that one answer takes.
        load_seconds: the longest that loading takes.
        max_body_bytes: of a request.
    """

    def __init__(
        self,
        home: Path,
        *,
        workers: int = 1,
        threads: int = 1,
        answer_seconds: float = 30,
        load_seconds: float = 120,
        max_body_bytes: int = 8 * 1024**2,
    ) -> None:
        self._workers = workers
        self._load_seconds = load_seconds
        self._numbers = itertools.count(1)
        self._lock = (
            threading.Lock()
        )  # over the two below: what a new run is given, and which it is
        self._held: dict[Version, _Model] = {}
        self._api: TorchServeApi | None = None
        self._up = threading.Event()
        self._process = TorchServeProcess(
            home,
            threads=threads,
            answer_seconds=answer_seconds,
            max_body_bytes=max_body_bytes,
            on_start=self._give_again,
            on_end=self._forget,
        )
        self._process.start()

    @property
    def pid(self) -> int | None:
        """TorchServe's process id while it runs, else None."""
        return self._process.pid

    def load(self, version: Version) -> None:
        """Load a version, and let it give its bundle's expected output.

        Raises:
            LoadError: a RuntimeError; the bundle is broken, or took too long.
            UnavailableError: a RuntimeError; TorchServe is away.
        """
        self._up.wait(self._load_seconds)
        api = self._running()
        model = self._write_archive(version)
        try:
            api.register(model.name, model.archive.name, self._workers, self._load_seconds)
            self._wait(model, api)
            warm_up(version, _kind(version), lambda document: api.predict(model.name, document))
            self._hold(version, model, api)
        except UnavailableError:
            self._drop(model, api)
            raise
        except Exception as error:  # a broken bundle may fail anywhere
            self._drop(model, api)
            if isinstance(error, LoadError) and str(version) in str(error):
                raise
            raise LoadError(f"{version} can't be loaded: {error}") from error

    def answer(self, version: Version, document: dict[str, Any]) -> dict[str, Any]:
        """Answer one request by one of the version's workers.

        Raises:
            InputRefusedError: a ValueError; the client's fault.
            UnavailableError: a RuntimeError; the version is not loaded, or TorchServe is away.
        """
        return self._running().predict(self._model(version).name, document)

    def infer(self, version: Version, inputs: Arrays) -> NDArray[np.float32]:
        """Let one of the version's workers run the model.

        Raises:
            InputRefusedError: a ValueError; the handler refused the tensors.
            UnavailableError: a RuntimeError; the version is not loaded, or TorchServe is away.
        """
        return self._running().infer(self._model(version).name, inputs)

    def unload(self, version: Version) -> None:
        """End a version's workers."""
        with self._lock:
            model = self._held.pop(version, None)
            api = self._api
        if model is not None:
            self._drop(model, api)

    def check(self) -> None:
        """Raise where TorchServe does not run, or no version has a worker that is ready.

        One version without workers is no reason to send the others' requests elsewhere.
        """
        api = self._running()
        models = list(self._held.values())
        if models and not any(_is_ready(model, api) for model in models):
            raise UnavailableError("No version has a worker that is ready.")

    def close(self) -> None:
        """Stop TorchServe."""
        self._process.close()

    def _model(self, version: Version) -> _Model:
        model = self._held.get(version)
        if model is None:
            raise UnavailableError(f"{version} is not loaded.")
        return model

    def _running(self) -> TorchServeApi:
        api = self._api
        if api is None or not self._up.is_set():
            raise UnavailableError("TorchServe is starting; try again in a moment.")
        return api

    def _give_again(self, api: TorchServeApi) -> None:
        """Let a new run load what the one before held."""
        with self._lock:
            self._api = api
            held = dict(self._held)
        for version, model in held.items():
            try:
                api.register(model.name, model.archive.name, self._workers, self._load_seconds)
            except LoadError as error:
                log.error("%s does not come back: %s", version, error)  # noqa: TRY400 - said in full
            if version not in self._held:  # unloaded meanwhile
                self._drop(model, api)
        self._up.set()

    def _forget(self) -> None:
        """The run has ended: nothing is asked of it any more."""
        self._up.clear()
        with self._lock:
            self._api = None

    def _wait(self, model: _Model, api: TorchServeApi) -> None:
        api.wait_until_ready(
            model.name,
            self._workers,
            self._load_seconds,
            is_over=lambda: api is not self._api or self._process.is_over,
        )

    def _hold(self, version: Version, model: _Model, api: TorchServeApi) -> None:
        with self._lock:
            if api is not self._api:
                raise UnavailableError("TorchServe was started again meanwhile.")
            self._held[version] = model

    def _drop(self, model: _Model, api: TorchServeApi | None) -> None:
        """Delete a model and its archive; a run that ended has nothing to delete."""
        if api is not None:
            with suppress(UnavailableError):
                api.delete(model.name)
        model.archive.unlink(missing_ok=True)

    def _write_archive(self, version: Version) -> _Model:
        members = archive_members(version.folder)
        if members is None:
            raise LoadError(f"{version} has neither an ONNX nor a TorchScript model.")
        name = f"model-{version.model_id}-{next(self._numbers)}"
        archive = self._process.folders.archives / f"{name}.mar"
        write_archive(archive, name, "1.0", members)
        return _Model(name, archive)


def _is_ready(model: _Model, api: TorchServeApi) -> bool:
    try:
        return any(worker["status"] == "READY" for worker in api.workers(model.name))
    except UnavailableError:
        return False


def _kind(version: Version) -> str:
    """Which of a bundle's formats the handler takes."""
    is_onnx = (version.folder / "artifacts" / "model.onnx").exists()
    return "onnx" if is_onnx else "torchscript"
