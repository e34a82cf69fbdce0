"""The rules by which models are retrained, and the last signal of each."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from utils.service.contracts.jobs import Signal, TriggerRule
from utils.service.contracts.triggers import Trigger
from utils.training.database import Page, Store, conflict_insert, decode_cursor, utc_now
from utils.training.database.paging import page_of
from utils.training.errors import TrainingError
from utils.training.retraining_tables import trigger_rule


class UnknownTriggerError(TrainingError, LookupError):
    """A model that no rule is kept for."""


class TriggerRuleStore(Store):
    """One rule a model."""

    def put(self, model_name: str, rule: TriggerRule, actor: str) -> Trigger:
        """Set a model's rule; the last signal stays."""
        now = utc_now()
        values = {
            "rule": rule.model_dump(mode="json"),
            "updated_at": now,
            "updated_by": actor,
        }
        statement = (
            conflict_insert(self._engine, trigger_rule)
            .values(model_name=model_name, created_at=now, **values)
            .on_conflict_do_update(index_elements=["model_name"], set_=values)
            .returning(trigger_rule)
        )
        with self._writing() as connection:
            return _trigger(connection.execute(statement).one())

    def get(self, model_name: str) -> Trigger:
        """A model's rule.

        Raises:
            UnknownTriggerError: a LookupError; it has none.
        """
        statement = select(trigger_rule).where(trigger_rule.c.model_name == model_name)
        with self._reading() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise _unknown(model_name)
        return _trigger(row)

    def hold(self, connection: Connection, model_name: str) -> None:
        """Keep a rule from being dropped or switched off before the transaction has ended.

        Raises:
            UnknownTriggerError: a LookupError; it was, since it was read.
        """
        current = select(trigger_rule.c.rule).where(trigger_rule.c.model_name == model_name)
        rule = connection.scalar(current.with_for_update(read=True))
        if rule is None or not rule["enabled"]:
            raise _unknown(model_name)

    def delete(self, model_name: str) -> None:
        """Drop a model's rule.

        Raises:
            UnknownTriggerError: a LookupError; it has none.
        """
        statement = delete(trigger_rule).where(trigger_rule.c.model_name == model_name)
        with self._writing() as connection:
            if connection.execute(statement).rowcount == 0:
                raise _unknown(model_name)

    def list(self, cursor: str | None = None, limit: int = 50) -> Page[Trigger]:
        """A page of rules, in the order of their models' names."""
        statement = select(trigger_rule).order_by(trigger_rule.c.model_name)
        if cursor is not None:
            statement = statement.where(trigger_rule.c.model_name > decode_cursor(cursor, str)[0])
        with self._reading() as connection:
            rows = connection.execute(statement.limit(limit + 1)).all()
        return page_of([_trigger(row) for row in rows], limit, lambda found: (found.model_name,))

    def note_signal(self, model_name: str, signal: Signal) -> None:
        """Keep what was last said of a model."""
        values = {"last_signal": signal.model_dump(mode="json"), "last_signal_at": utc_now()}
        with self._writing() as connection:
            connection.execute(
                update(trigger_rule).where(trigger_rule.c.model_name == model_name).values(**values)
            )


def _trigger(row: Row[Any]) -> Trigger:
    values = row._asdict()
    rule = TriggerRule.model_validate(values.pop("rule"))
    signal = values.pop("last_signal")
    last = None if signal is None else Signal.model_validate(signal)
    return Trigger(rule=rule, last_signal=last, **values)


def _unknown(model_name: str) -> UnknownTriggerError:
    return UnknownTriggerError(
        f"There is no trigger for the model '{model_name}'; set a rule for it first."
    )
