"""Models whose bundles are damaged, or whose drift nobody can measure."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from services.cli.connection import Connection
from services.cli.doctor.finding import Finding
from utils.service.clients.registry import RegistryClient
from utils.service.http import RemoteError
from utils.training.model_registry import RegisteredModel

_PAGE = 200


def examine(connection: Connection, *, deep: bool) -> list[Finding]:
    """Look at production's versions; ``deep`` verifies the bundles of all."""
    found: list[Finding] = []
    with connection.registry("admin") as registry:
        for model in _models(registry, None if deep else "production"):
            found += _bundle(registry, model)
            if model.tag == "production":
                found += _profile(registry, model)
    return found


def _models(registry: RegistryClient, tag: str | None) -> Iterator[RegisteredModel]:
    cursor = None
    while True:
        page = registry.list_models(tag=tag, limit=_PAGE, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _bundle(registry: RegistryClient, model: RegisteredModel) -> Iterator[Finding]:
    digest = model.artifact_digest
    if digest is None:
        problem = "It has no digest, so that nobody can tell whether its bundle is whole."
    else:
        try:
            if registry.verify_artifact(digest):
                return
            problem = f"The bytes of its bundle no longer have the digest {digest}."
        except RemoteError as error:
            if error.status == HTTPStatus.FORBIDDEN:  # of the asker's token, not of the bundle
                raise
            problem = f"Its bundle can't be verified: {error}"
    yield Finding(
        "error",
        f"{model.name} {model.version} (model {model.model_id})",
        problem,
        "It can't be served, rolled back to or trained further once it is needed.",
        "Restore the artifact store from a backup, or train the version again.",
    )


def _profile(registry: RegistryClient, model: RegisteredModel) -> Iterator[Finding]:
    if registry.reference_profile(model.model_id) is None:
        yield Finding(
            "warning",
            f"{model.name} {model.version} (model {model.model_id})",
            "It is in production without a reference profile.",
            "Its drift can't be measured, so that drift never has it trained again.",
            "Train it by a job of this platform, which registers the profile with it.",
        )
