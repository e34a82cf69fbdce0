"""Artifacts up and down: streamed, resumable, their digest checked on both ends."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import IO

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, Field

from services.registry.metrics import RegistryMetrics
from services.registry.transfers import Transfers
from utils.service.artifacts import CHUNK_BYTES, ArtifactError, ArtifactStore
from utils.service.contracts.uploads import CHECKPOINT, KIND, LENGTH, OFFSET
from utils.service.problems import ProblemError
from utils.service.web import BEARER, role
from utils.training.job_queue.checkpoints import CheckpointStore

_MAX_DIGITS = 18  # of a number in a header


class ArtifactPath(BaseModel):
    """An artifact by its digest."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")


def routes(
    store: ArtifactStore,
    checkpoints: CheckpointStore,
    metrics: RegistryMetrics,
    *,
    max_bytes: int,
    most_transfers: int,
) -> APIBlueprint:
    """The artifacts' routes."""
    transfers = Transfers(most_transfers)
    api = APIBlueprint("artifacts", __name__, url_prefix="/v1/artifacts")

    @api.get("/<digest>", security=BEARER)
    @role("reader")
    def download(path: ArtifactPath) -> Response:
        """Read an artifact, from any byte on (``Range: bytes=N-``); HEAD tells size or offset.

        What HEAD finds stays for a day, in which the caller may refer to it.
        """
        if request.method == "HEAD":
            checkpoints.keep(path.digest)  # before the look: it may be being removed
            if not store.has(path.digest):
                headers = {OFFSET: str(store.staged_bytes(path.digest))}
                return Response(status=HTTPStatus.NOT_FOUND, headers=headers)
        size = store.size(path.digest)
        start = _start(size)
        response = Response(
            _counted(store.read(path.digest, start), metrics),
            mimetype="application/octet-stream",
            status=HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK,
        )
        response.headers["Content-Length"] = str(size - start)
        response.headers["Accept-Ranges"] = "bytes"
        response.headers["ETag"] = f'"{path.digest}"'
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        return response if request.method == "HEAD" else transfers.leaving(response)

    @api.put("/<digest>", security=BEARER)
    @role("trainer")
    def upload(path: ArtifactPath) -> tuple[Response, int]:
        """Add bytes at ``Upload-Offset``; with ``Upload-Length`` reached, verify and keep.

        A body that ends early leaves what came, and HEAD tells where to go on. With ``Upload-Kind:
        checkpoint`` it may be removed when no job goes on from it; anything else stays.
        """
        request.max_content_length = max_bytes
        is_checkpoint = request.headers.get(KIND) == CHECKPOINT
        if is_checkpoint:
            checkpoints.keep(path.digest)
        else:
            checkpoints.keep_for_good(path.digest)
        if store.has(path.digest):
            return jsonify(digest=path.digest, bytes=store.size(path.digest)), HTTPStatus.OK.value
        length = _number(LENGTH)
        if not 0 <= length <= max_bytes:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The artifact has {length} bytes, the limit here is {max_bytes}.",
            )
        if is_checkpoint:
            checkpoints.expect(path.digest)
        try:
            with transfers.arriving():
                staged = store.append(path.digest, _number(OFFSET), _chunks(request.stream), length)
        except ArtifactError as error:
            headers = {OFFSET: str(store.staged_bytes(path.digest))}
            raise ProblemError(HTTPStatus.CONFLICT, str(error), headers) from error
        metrics.artifact_bytes.labels("in").inc(staged)
        if staged < length:
            response = jsonify(digest=path.digest, bytes=staged)
            response.headers[OFFSET] = str(staged)
            return response, HTTPStatus.ACCEPTED.value
        size = store.commit(path.digest)
        return jsonify(digest=path.digest, bytes=size), HTTPStatus.CREATED.value

    @api.get("/<digest>/verification", security=BEARER)
    @role("admin")
    def verify(path: ArtifactPath) -> Response:
        """Read all of an artifact again, and say whether it still has its digest."""
        return jsonify(digest=path.digest, is_intact=store.verify(path.digest))

    return api


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _counted(chunks: Iterator[bytes], metrics: RegistryMetrics) -> Iterator[bytes]:
    for chunk in chunks:
        metrics.artifact_bytes.labels("out").inc(len(chunk))
        yield chunk


def _number(header: str) -> int:
    text = request.headers.get(header, "")
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            f"The header {header} is {text[:40]!r}; give a whole number of bytes.",
        )
    return int(text)


def _start(size: int) -> int:
    """The first byte that a ``Range`` header asks for; other kinds of ranges get everything."""
    wanted = request.headers.get("Range", "")
    first = wanted.removeprefix("bytes=").removesuffix("-")
    if not wanted.startswith("bytes=") or not wanted.endswith("-") or not first.isdecimal():
        return 0
    if len(first) > _MAX_DIGITS or int(first) >= size:
        raise ProblemError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"The artifact has {size} bytes."
        )
    return int(first)
