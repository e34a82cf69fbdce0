"""Checkpoints on their way: up as they are written, down where another attempt goes on."""

from __future__ import annotations

import logging
import os
import shutil
from http import HTTPStatus
from pathlib import Path

from services.trainer.run.job import RunningJob
from services.trainer.run.sending import Sender
from utils.service.clients.registry import DigestError
from utils.service.contracts.models import CheckpointUpload
from utils.service.http import RemoteError
from utils.service.packing import pack, unpack
from utils.training.engine.checkpoint.folder import CheckpointFolder
from utils.training.engine.checkpoint.retention import StoredCheckpoint
from utils.training.engine.checkpoint.whole import files_of
from utils.training.job_queue import JobCheckpoint

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_PACKED = ".tar"


class CheckpointUploader(Sender):
    """Uploads the newest checkpoint whenever there is a newer one, from a thread of its own.

    The best epoch's goes along, in one tar with it, where it is another: the next attempt may end
    elsewhere, and the best weights are what is registered. So do the shards of both.
    """

    def __init__(self, job: RunningJob, folder: CheckpointFolder) -> None:
        super().__init__("checkpoints", _LOOK_SECONDS)
        self._job = job
        self._folder = folder
        self._staging = job.folder / "uploads"
        self._uploaded: tuple[int, float, bool] | None = None  # a place in training

    def send(self) -> None:
        """Bring the newest checkpoint into the store, unless it is there."""
        stored = self._folder.readable()
        if not stored or (self._uploaded and stored[0].position <= self._uploaded):
            return
        newest = stored[0]
        path = self._staged(newest)
        if path is None:
            return
        digest = self._job.registry.upload(path, is_checkpoint=True)
        self._job.registry.save_checkpoint(
            self._job.order.job_id,
            CheckpointUpload(
                digest=digest,
                file_name=path.name,
                step=newest.global_step,
                fence=self._job.fence,
            ),
        )
        self._uploaded = newest.position
        shutil.rmtree(self._staging)
        log.info("Uploaded %s.", newest.path.name)

    def _staged(self, newest: StoredCheckpoint) -> Path | None:
        """What is uploaded, held by links of our own; None where it was cleared away meanwhile."""
        best = self._folder.best()
        folder = self._staging / newest.path.stem
        folder.mkdir(parents=True, exist_ok=True)
        try:
            files = {file for path in (newest.path, best or newest.path) for file in files_of(path)}
            for file in files:
                _link(file, folder / file.relative_to(self._folder.path))
        except FileNotFoundError:
            return None
        if files == {newest.path}:
            return folder / newest.path.name
        packed = self._staging / f"{newest.path.stem}{_PACKED}"
        pack(folder, packed)
        return packed


def fetch_newest(job: RunningJob, folder: Path, max_bytes: int) -> bool:
    """Put the job's newest checkpoint where the engine looks for it; False where there is none.

    One that is damaged or missing in the store is passed over for the one before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for checkpoint in job.registry.checkpoints(job.order.job_id):
        arrived = _download(job, checkpoint, folder)
        if arrived is None:
            continue
        if arrived.suffix == _PACKED:
            unpack(arrived, folder, max_bytes=max_bytes)
            arrived.unlink()
        log.info("Going on from %s, step %d.", checkpoint.file_name, checkpoint.step)
        return True
    return False


def _download(job: RunningJob, checkpoint: JobCheckpoint, folder: Path) -> Path | None:
    """A checkpoint as it was saved; None where it is no use to any attempt."""
    name = checkpoint.file_name
    try:
        return job.registry.download(checkpoint.digest, folder / name)
    except DigestError as error:
        log.warning("%s is damaged; it is passed over. %s", name, error)
    except RemoteError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        log.warning("%s is missing; it is passed over. %s", name, error)
    return None


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(source, target)
