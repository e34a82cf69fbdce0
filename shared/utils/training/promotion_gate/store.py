"""Verdicts kept in the database: the newest of a model is the one that counts."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import BigInteger, Column, ForeignKey, Table, insert, select

from utils.training.database import Id, Json, Store, UtcDateTime, metadata, utc_now
from utils.training.errors import TrainingError
from utils.training.promotion_gate.decision import Verdict

verdict = Table(
    "verdict",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Id, ForeignKey("model.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("champion_model_id", BigInteger, nullable=True),
    Column("verdict", Json, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
)


class GateClosedError(TrainingError, RuntimeError):
    """A promotion without a passing verdict against the present champion."""


class VerdictStore(Store):
    """The gate's verdicts."""

    def record(self, model_id: int, champion_model_id: int | None, decided: Verdict) -> None:
        """Keep a verdict; the champion is the production version that was measured against."""
        with self._writing() as connection:
            connection.execute(
                insert(verdict).values(
                    model_id=model_id,
                    champion_model_id=champion_model_id,
                    verdict=asdict(decided),
                    decided_at=utc_now(),
                )
            )

    def newest(self, model_id: int) -> tuple[Verdict, int | None] | None:
        """The newest verdict on a model and the champion of that measurement, or None."""
        query = (
            select(verdict.c.verdict, verdict.c.champion_model_id)
            .where(verdict.c.model_id == model_id)
            .order_by(verdict.c.id.desc())
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (Verdict(**row.verdict), row.champion_model_id)

    def champion_passed_against(self, model_id: int) -> int:
        """The champion (0 for none) that a model's newest verdict lets it replace.

        Raises:
            GateClosedError: a RuntimeError; there is no verdict, or it is not a pass.
        """
        found = self.newest(model_id)
        if found is None:
            raise GateClosedError(
                f"Model {model_id} has not been evaluated; submit an evaluation job, or force the "
                "promotion with a reason."
            )
        decided, champion = found
        if not decided.passed:
            raise GateClosedError(
                f"Model {model_id} did not pass the gate: {' '.join(decided.reasons)} "
                "Force the promotion with a reason if it must be."
            )
        return champion or 0
