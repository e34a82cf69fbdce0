"""Parameters: flat, written once, comparable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Executable, select

from utils.training.database import to_json
from utils.training.database.checks import check_name
from utils.training.database.engine import conflict_insert_of
from utils.training.experiment_db.errors import RunConflictError
from utils.training.experiment_db.tables import run_param, run_tag


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested configuration as ``outer.inner`` names and their values."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def as_text(value: Any) -> str:
    """The stored form, equal for equal values."""
    return to_json(value, sort_keys=True)


def equal_texts(value: Any) -> set[str]:
    """Every stored form of values that equal this one: 1 and 1.0 do."""
    texts = {as_text(value)}
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        texts |= {as_text(int(value)), as_text(float(value))}
    return texts


def write_params(connection: Connection, run_id: int, params: Mapping[str, Any]) -> None:
    """Store parameters that are new, and see that the others are the same.

    Raises:
        RunConflictError: one has another value already.
    """
    texts = {check_name("A parameter's name", k): as_text(v) for k, v in sorted(params.items())}
    if not texts:
        return
    rows = [{"run_id": run_id, "name": name, "value": text} for name, text in texts.items()]
    connection.execute(_insert_params(connection.dialect.name), rows)
    stored = select(run_param.c.name, run_param.c.value).where(
        run_param.c.run_id == run_id, run_param.c.name.in_(texts)
    )
    changed = [
        f"{name} is {value}, not {texts[name]}"
        for name, value in connection.execute(stored)
        if value != texts[name]
    ]
    if changed:
        raise RunConflictError(
            f"Parameters of run {run_id} are written once: {'; '.join(changed)}; start a new run "
            "for other values."
        )


def write_tags(connection: Connection, run_id: int, tags: Mapping[str, str]) -> None:
    """Store tags; a later value replaces an earlier one."""
    rows = [
        {"run_id": run_id, "name": check_name("A tag's name", name), "value": str(value)}
        for name, value in sorted(tags.items())
    ]
    if rows:
        connection.execute(_upsert_tags(connection.dialect.name), rows)


@cache
def _insert_params(dialect: str) -> Executable:
    return conflict_insert_of(dialect, run_param).on_conflict_do_nothing()


@cache
def _upsert_tags(dialect: str) -> Executable:
    statement = conflict_insert_of(dialect, run_tag)
    return statement.on_conflict_do_update(
        index_elements=["run_id", "name"], set_={"value": statement.excluded.value}
    )
