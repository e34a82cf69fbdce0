"""How a model gets another tag: under the lock of its name, one audit row a change.

The oldest version of a name is the name's lock on Postgres; it is never deleted. SQLite has one
writer anyhow. Under the lock, reading and deciding are safe.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from utils.training.database import utc_now
from utils.training.database.prepared import Prepared
from utils.training.model_registry.errors import ConflictError, UnknownModelError
from utils.training.model_registry.records import Promotion
from utils.training.model_registry.tables import model, promotion

PROMOTION_COLUMNS = [c for c in promotion.c if c.name != "id"]

_OF_NAME = select(model.c.id).where(model.c.name == bindparam("name"))
_LOCK = Prepared(_OF_NAME.order_by(model.c.id).limit(1).with_for_update(key_share=True))
_NAME = Prepared(select(model.c.name).where(model.c.id == bindparam("model_id")))
_TARGET_AND_PRODUCTION = Prepared(
    select(model.c.id, model.c.tag).where(
        or_(
            model.c.id == bindparam("model_id"),
            (model.c.name == bindparam("name")) & (model.c.tag == "production"),
        )
    )
)
_LAST = Prepared(
    select(promotion.c.sequence, promotion.c.at)
    .where(promotion.c.name == bindparam("name"))
    .order_by(promotion.c.sequence.desc())
    .limit(1)
)
_SET_TAG = Prepared(
    update(model)
    .where(model.c.id == bindparam("model_id"))
    .values(tag=bindparam("new_tag"), tagged_at=bindparam("at"))
)
_RECORD = Prepared(insert(promotion), [column.key for column in PROMOTION_COLUMNS])


def name_of(connection: Connection, model_id: int) -> str:
    """A model's name, which never changes."""
    rows = _NAME.rows(connection, {"model_id": model_id})
    if not rows:
        raise UnknownModelError(
            f"There is no model {model_id}; the list of models has those there are."
        )
    name: str = rows[0]["name"]
    return name


def lock(connection: Connection, name: str) -> None:
    """Keep every other change of this name's tags out until the transaction ends."""
    if not _LOCK.rows(connection, {"name": name}):
        raise UnknownModelError(
            f"There is no model of the name '{name}'; the list of models has those there are."
        )


def change_tag(
    connection: Connection,
    name: str,
    model_id: int,
    tag: str,
    *,
    kind: str,
    expected_current: int | None,
    reason: str | None,
    actor: str | None,
) -> Promotion:
    """Give a model a tag, retire the production version that it replaces, write the audit row."""
    where = {"model_id": model_id, "name": name}
    found = _TARGET_AND_PRODUCTION.rows(connection, where)
    tags = {row["id"]: row["tag"] for row in found}
    production = next((key for key, held in tags.items() if held == "production"), None)
    is_there_already = tag == "production" and production == model_id
    if not is_there_already:
        _expect(name, production, expected_current)
    last = next(iter(_LAST.rows(connection, {"name": name})), None)
    replaced = production if tag == "production" and not is_there_already else None
    change = Promotion(
        name=name,
        sequence=1 if last is None else last["sequence"] + 1,
        kind=kind,
        model_id=model_id,
        from_tag=tags[model_id],
        to_tag=tag,
        replaced_model_id=replaced,
        reason=reason,
        actor=actor,
        # Clocks of several machines differ; a name's history still runs forwards.
        at=utc_now() if last is None else max(utc_now(), last["at"] + timedelta(microseconds=1)),
    )
    for changed, new_tag in ((replaced, "retired"), (model_id, tag)):
        if changed is not None:
            row = {"model_id": changed, "new_tag": new_tag, "at": change.at}
            _SET_TAG.run(connection, row)
    _RECORD.run(connection, vars(change))
    return change


def _expect(name: str, production: int | None, expected: int | None) -> None:
    if expected is not None and expected != (production or 0):
        raise ConflictError(
            f"Production of '{name}' is {_model(production)}, not {_model(expected)} as expected; "
            "look at it again and decide anew."
        )


def _model(model_id: int | None) -> str:
    return f"model {model_id}" if model_id else "no model"


def version_before(connection: Connection, name: str) -> int:
    """The version that was in production before the present one, as rollbacks count.

    Promotions pile up; a rollback takes the uppermost away, and so does taking the tag from the
    production version. So a second rollback goes one further back, not forth again.
    """
    statement = (
        select(*PROMOTION_COLUMNS)
        .where(
            promotion.c.name == name,
            or_(promotion.c.to_tag == "production", promotion.c.from_tag == "production"),
            promotion.c.from_tag != promotion.c.to_tag,
        )
        .order_by(promotion.c.sequence)
    )
    pile: list[int] = []
    is_in_production = False
    for row in connection.execute(statement):
        _replay(pile, row, is_in_production)
        is_in_production = row.to_tag == "production"
    if is_in_production:
        pile.pop()
    if not pile:
        raise ConflictError(
            f"'{name}' had no production version before the present one; "
            "promote the version that you want instead."
        )
    return pile[-1]


def _replay(pile: list[int], change: Any, is_in_production: bool) -> None:
    if change.kind == "rollback":
        if is_in_production:
            pile.pop()
    elif change.to_tag == "production":
        pile.append(change.model_id)
    else:
        pile.pop()


def of_name(
    connection: Connection, name: str, limit: int | None, before: int | None
) -> list[Promotion]:
    """A name's audit, newest first."""
    statement = select(*PROMOTION_COLUMNS).where(promotion.c.name == name)
    if before is not None:
        statement = statement.where(promotion.c.sequence < before)
    statement = statement.order_by(promotion.c.sequence.desc()).limit(limit)
    return [Promotion(**row) for row in connection.execute(statement).mappings()]
