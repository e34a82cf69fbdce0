"""How a model comes into the registry, once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, bindparam, case, cast, func, insert, select
from sqlalchemy.exc import IntegrityError

from utils.training.artifact_digest import artifact_digest, artifact_size_bytes
from utils.training.database import content_digest, utc_now
from utils.training.database.checks import check_id, check_name, check_number
from utils.training.database.prepared import Prepared
from utils.training.errors import InvalidArgumentError
from utils.training.model_registry.errors import AlreadyRegisteredError
from utils.training.model_registry.tables import model, model_metric

_BYTES_IN_MB = 1_000_000

_INSERT = Prepared(
    insert(model).returning(model.c.id), [column.key for column in model.c if column.key != "id"]
)
_INSERT_METRICS = Prepared(insert(model_metric), model_metric.c.keys())
_TURN = Prepared(
    select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name", type_=Text()), 0)))
)
_WHOLE_NUMBER = model.c.version.regexp_match("^[0-9]{1,18}$")
_GREATEST = Prepared(
    select(
        func.max(cast(case((_WHOLE_NUMBER, model.c.version)), BigInteger())).label("greatest")
    ).where(model.c.name == bindparam("name"))
)


def values_of(
    given: dict[str, Any], metrics: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, float]]:
    """The row of a registration and its metrics, checked, with what the artifact itself tells.

    Raises:
        ValueError: a value is not of its kind.
    """
    for field in ("name", "version", "task_type"):
        if field != "version" or given[field] is not None:
            check_name(field, given[field])
    others = {name: given[name] for name in ("training_run_id", "parent_model_id")}
    given |= {name: check_id(name, value) for name, value in others.items() if value is not None}
    if given["model_size_mb"] is not None:
        given["model_size_mb"] = _check_size(given["model_size_mb"])
    for name in metrics:
        check_name("A metric's name", name)
    numbers = {name: check_number(f"The metric '{name}'", value) for name, value in metrics.items()}
    content = given | _facts_of_artifact(given)
    key = content.pop("idempotency_key")
    digest = None if key is None else content_digest(content | {"metrics": numbers})
    now = utc_now()
    row = content | {
        "tag": "experimental",
        "created_at": now,
        "tagged_at": now,
        "idempotency_key": key,
        "content_digest": digest,
    }
    return row, numbers


def _check_size(value: Any) -> float:
    size = check_number("model_size_mb", value)
    if not size >= 0:
        raise InvalidArgumentError(f"model_size_mb is {size}, allowed is a number from 0 up.")
    return size


def _facts_of_artifact(given: Mapping[str, Any]) -> dict[str, Any]:
    """Digest and size where they were not given; what is given is believed, unread."""
    is_complete = given["artifact_digest"] is not None and given["model_size_mb"] is not None
    path = Path(given["checkpoint_path"])
    facts: dict[str, Any] = {}
    if not is_complete and path.exists():
        if given["artifact_digest"] is None:
            facts["artifact_digest"] = artifact_digest(path)
        if given["model_size_mb"] is None:
            facts["model_size_mb"] = artifact_size_bytes(path) / _BYTES_IN_MB
    return facts


def insert_model(
    connection: Connection, row: Mapping[str, Any], metrics: Mapping[str, float]
) -> int:
    """Write a model and its metrics; one without a version gets the name's next whole number.

    Raises:
        IntegrityError: it was registered before, or its parent was not.
    """
    if row["version"] is None:
        row = {**row, "version": str(_next_version(connection, row["name"]))}
    model_id: int = _INSERT.rows(connection, row)[0]["id"]
    if metrics:
        rows = [{"model_id": model_id, "name": n, "value": v} for n, v in metrics.items()]
        _INSERT_METRICS.run_many(connection, rows)
    return model_id


def _next_version(connection: Connection, name: str) -> int:
    """One more than the greatest version that is a whole number; registrations come in turns."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyhow
        _TURN.run(connection, {"name": name})
    greatest: int | None = _GREATEST.rows(connection, {"name": name})[0]["greatest"]
    return 1 + (greatest or 0)


def registered_before(connection: Connection, row: Mapping[str, Any], error: IntegrityError) -> int:
    """Tell a retry, whose id this gives, from a conflict, after a constraint refused the row.

    Raises:
        AlreadyRegisteredError: the version or the key belongs to another registration.
        ValueError: there is no such parent.
    """
    key, name, version = row["idempotency_key"], row["name"], row["version"]
    if key is not None:
        rival = connection.execute(select(model).where(model.c.idempotency_key == key)).first()
        if rival is not None and rival.content_digest == row["content_digest"]:
            return int(rival.id)
        if rival is not None:
            raise AlreadyRegisteredError(
                f"The idempotency key '{key}' belongs to model {rival.id} with another content; "
                "take a new key for a new registration."
            ) from error
    is_same = (model.c.name == name, model.c.version == version)
    rival_id = connection.execute(select(model.c.id).where(*is_same)).scalar()
    if rival_id is not None:
        raise AlreadyRegisteredError(
            f"Version '{version}' of '{name}' is registered already, as model {rival_id}; "
            "choose another version."
        ) from error
    if row["parent_model_id"] is not None:
        raise InvalidArgumentError(
            f"parent_model_id is {row['parent_model_id']}, but there is no such model; "
            "register the parent first."
        ) from error
    raise error
