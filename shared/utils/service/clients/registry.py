"""The registry, as its callers see it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from utils.service.artifacts import CHUNK_BYTES
from utils.service.contracts.document import from_json
from utils.service.contracts.models import (
    CheckpointUpload,
    Evaluation,
    Fence,
    MetricBatch,
    MetricValue,
    ModelRegistration,
    PromotionRequest,
    RunCreation,
)
from utils.service.contracts.uploads import CHECKPOINT, KIND, LENGTH, OFFSET
from utils.service.http import RemoteError, ServiceClient, UnreachableError
from utils.training.errors import TrainingError
from utils.training.experiment_db import MetricPoint, Run
from utils.training.job_queue import JobCheckpoint
from utils.training.model_registry import Lineage, Promotion, RegisteredModel
from utils.training.page import Page
from utils.training.promotion_gate import Verdict

_UPLOAD_TRIES = 20
_GOES_ON = (HTTPStatus.CONFLICT, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.SERVICE_UNAVAILABLE)
_SILENCE_SECONDS = 60.0  # after which a download's connection counts as broken


class DigestError(TrainingError, RuntimeError):
    """Bytes that arrived are not those that were asked for."""


class RegistryClient:
    """Typed calls; answers are what the library's stores give out."""

    def __init__(self, service: ServiceClient) -> None:
        self._service = service

    def upload(self, path: Path, *, is_checkpoint: bool = False) -> str:
        """Bring a file into the store, from where an earlier try stopped; return its digest.

        A checkpoint is removed from the store when no job can go on from it any more, unless the
        same file comes as something else too.

        Raises:
            RemoteError: the registry refused.
            UnreachableError: a ConnectionError; not all has arrived. Another call goes on from it.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        length = path.stat().st_size
        for last in range(_UPLOAD_TRIES):
            offset = self._offset(digest)
            if offset is None and is_checkpoint:
                return digest
            try:
                # Of what is there already no byte is sent, only the word that it stays.
                start = length if offset is None else offset
                if self._send(path, digest, start, length, is_checkpoint) == length:
                    return digest
            except (UnreachableError, RemoteError) as error:
                refused = isinstance(error, RemoteError) and error.status not in _GOES_ON
                if refused or last == _UPLOAD_TRIES - 1:
                    raise
        raise UnreachableError(
            f"{path.name} was sent in {_UPLOAD_TRIES} tries and is not whole in the store; send it "
            "again, it goes on from what arrived."
        )

    def _offset(self, digest: str) -> int | None:
        """Where an upload goes on; None where the artifact is there."""
        try:
            self._service.call("HEAD", f"/v1/artifacts/{digest}")
        except RemoteError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return int(error.headers.get(OFFSET, "0"))
        return None

    def _send(self, path: Path, digest: str, offset: int, length: int, is_checkpoint: bool) -> int:
        """Send a file's bytes from an offset on, and return how many are there by now."""
        headers = {OFFSET: str(offset), LENGTH: str(length)}
        if is_checkpoint:
            headers[KIND] = CHECKPOINT
        answer = self._service.call(
            "PUT", f"/v1/artifacts/{digest}", content=_Part(path, offset), headers=headers
        )
        return int(answer.json()["bytes"])

    def download(self, digest: str, path: Path) -> Path:
        """Fetch an artifact into a file, which is there whole and verified or not at all.

        Raises:
            DigestError: a RuntimeError; other bytes came.
            RemoteError: the registry refused.
            httpx.TransportError: the connection broke; another call goes on where it did.
        """
        partial = path.with_name(f".{path.name}.partial")
        self._service.retrying(_is_busy)(self._fetch, digest, partial)
        with partial.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != digest:
            partial.unlink()
            raise DigestError(f"Asked for {digest}, the bytes that came have {actual}.")
        return partial.replace(path)

    def _fetch(self, digest: str, partial: Path) -> None:
        """Add to a file what it lacks of an artifact."""
        start = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with self._service.stream(
                f"/v1/artifacts/{digest}", headers=headers, silence_seconds=_SILENCE_SECONDS
            ) as response:
                mode = "ab" if response.status_code == HTTPStatus.PARTIAL_CONTENT else "wb"
                with partial.open(mode) as file:
                    for chunk in response.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
        except RemoteError as error:
            if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise  # else an earlier call read it to its end

    def verify_artifact(self, digest: str) -> bool:
        """Does the store still hold the bytes with this digest? Reads all of them; for admins."""
        answer = self._service.call("GET", f"/v1/artifacts/{digest}/verification")
        return bool(answer.json()["is_intact"])

    def register(self, registration: ModelRegistration) -> RegisteredModel:
        """Register a model."""
        return self._post("/v1/models", registration, RegisteredModel)

    def list_models(self, **query: Any) -> Page[RegisteredModel]:
        """Search models, the newest first."""
        return self._get("/v1/models", Page[RegisteredModel], query)

    def get_model(self, model_id: int) -> RegisteredModel:
        """Read a model."""
        return self._get(f"/v1/models/{model_id}", RegisteredModel)

    def tagged(self, name: str, tag: str = "production") -> RegisteredModel | None:
        """The version of a name that has a tag, or None."""
        try:
            return self._get("/v1/models/tagged", RegisteredModel, {"name": name, "tag": tag})
        except RemoteError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def lineage(self, model_id: int) -> Lineage:
        """Trace a model."""
        return self._get(f"/v1/models/{model_id}/lineage", Lineage)

    def reference_profile(self, model_id: int) -> dict[str, Any] | None:
        """What the drift of a model is measured against."""
        return self._get(f"/v1/models/{model_id}/reference-profile", dict[str, Any] | None)

    def history(self, name: str) -> list[Promotion]:
        """The audit of a name, newest first."""
        return self._get(f"/v1/names/{name}/history", list[Promotion])

    def compare_models(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """One row a model, one column a metric."""
        return list(self._get("/v1/models/compare", dict[str, Any], {"ids": list(ids)})["items"])

    def evaluate(self, model_id: int, evaluation: Evaluation) -> Verdict:
        """Have a challenger judged."""
        return self._post(f"/v1/models/{model_id}/evaluations", evaluation, Verdict)

    def verdict(self, model_id: int) -> Verdict:
        """Read a model's newest verdict."""
        return self._get(f"/v1/models/{model_id}/verdict", Verdict)

    def promote(self, model_id: int, promotion: PromotionRequest) -> Promotion:
        """Give a model another tag."""
        return self._post(f"/v1/models/{model_id}/promote", promotion, Promotion)

    def rollback(self, name: str, reason: str, model_id: int | None = None) -> Promotion:
        """Put the production version before the present one back; one step, however often sent.

        With ``model_id``, only where that is the present one.
        """
        if model_id is None:
            current = self.tagged(name)
            model_id = current.model_id if current else 0
        body = {"reason": reason, "expected_current": model_id}
        response = self._service.call("POST", f"/v1/names/{name}/rollback", body=body)
        promotion: Promotion = from_json(Promotion, response.content)
        return promotion

    def begin_run(self, run: RunCreation, idempotency_key: str) -> Run:
        """Begin a run; the same key gives the same run again."""
        return self._post("/v1/runs", run, Run, idempotency_key)

    def log_metrics(
        self, run_id: int, points: list[MetricValue], fence: Fence | None = None
    ) -> None:
        """Store a batch of points."""
        self._service.call(
            "POST",
            f"/v1/runs/{run_id}/metrics",
            body=MetricBatch(points=points, fence=fence).model_dump(mode="json"),
        )

    def end_run(self, run_id: int, status: str, fence: Fence | None = None) -> Run:
        """Say how a run ended."""
        body = {"status": status, "fence": fence.model_dump() if fence else None}
        response = self._service.call("POST", f"/v1/runs/{run_id}/status", body=body)
        run: Run = from_json(Run, response.content)
        return run

    def get_run(self, run_id: int) -> Run:
        """Read a run."""
        return self._get(f"/v1/runs/{run_id}", Run)

    def list_runs(self, **query: Any) -> Page[Run]:
        """List runs, the newest first."""
        return self._get("/v1/runs", Page[Run], query)

    def metric_points(self, run_id: int, **query: Any) -> Page[MetricPoint]:
        """Some of a run's points."""
        return self._get(f"/v1/runs/{run_id}/metrics", Page[MetricPoint], query)

    def compare_runs(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """One row a run, one column a metric."""
        return list(self._get("/v1/runs/compare", dict[str, Any], {"ids": list(ids)})["items"])

    def save_checkpoint(self, job_id: int, checkpoint: CheckpointUpload) -> None:
        """Note a job's newest checkpoint, which is uploaded already."""
        self._service.call(
            "PUT", f"/v1/jobs/{job_id}/checkpoint", body=checkpoint.model_dump(mode="json")
        )

    def newest_checkpoint(self, job_id: int) -> JobCheckpoint | None:
        """Where a job's newest checkpoint is, or None."""
        try:
            return self._get(f"/v1/jobs/{job_id}/checkpoint", JobCheckpoint)
        except RemoteError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def checkpoints(self, job_id: int) -> list[JobCheckpoint]:
        """A job's checkpoints that are kept, the newest first."""
        return self._get(f"/v1/jobs/{job_id}/checkpoints", list[JobCheckpoint])

    def _get(self, path: str, kind: Any, query: dict[str, Any] | None = None) -> Any:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return from_json(kind, self._service.call("GET", path, params=given).content)

    def _post(self, path: str, body: Any, kind: Any, idempotency_key: str | None = None) -> Any:
        response = self._service.call(
            "POST", path, body=body.model_dump(mode="json"), idempotency_key=idempotency_key
        )
        return from_json(kind, response.content)


class _Part:
    """A file's bytes from an offset on, as often as they are asked for."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, RemoteError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE
