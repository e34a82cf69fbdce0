"""The profiles that a model's data are compared with, and who changed them why.

A reference that follows the data forgets slow drift. So a new one is an act with a name and a
reason, every earlier one stays readable, and the original can always be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from utils.training.database import Store, utc_now
from utils.training.database.checks import check_name
from utils.training.errors import TrainingError
from utils.training.retraining_tables import reference_profile

_KEYS = [c for c in reference_profile.c if c.name != "profile"]


class ReferenceConflictError(TrainingError, ValueError):
    """The reference is not the one that the caller saw: somebody set another."""


@dataclass(frozen=True)
class ReferenceChange:
    """One setting of a reference profile; number 1 is the original."""

    model_name: str
    number: int
    set_at: datetime
    actor: str
    reason: str


class ReferenceProfileStore(Store):
    """A model's reference profiles, oldest first, none ever deleted."""

    def rebase(
        self, model_name: str, profile: dict[str, Any], *, actor: str, reason: str, replaces: int
    ) -> ReferenceChange:
        """Set the reference.

        Args:
            model_name: the model, or the model and its version.
            profile: from ``profile_dataset``.
            actor: who.
            reason: why; it can't be empty.
            replaces: the number of the reference that the caller saw; 0 sets the original.

        Raises:
            ReferenceConflictError: a ValueError; the reference has another number by now.
            ValueError: no actor, no reason, or a negative number.
        """
        if not actor.strip() or not reason.strip() or replaces < 0:
            raise ValueError(
                f"The actor is '{actor}', the reason '{reason}' and the replaced number "
                f"{replaces}; say who and why, and give 0 or a number of the history."
            )
        check_name("model_name", model_name)
        change = ReferenceChange(model_name, replaces + 1, utc_now(), actor, reason)
        try:
            with self._writing() as connection:
                if replaces and self._last(connection, model_name) != replaces:
                    raise self._conflict(model_name, replaces)
                connection.execute(
                    insert(reference_profile).values(profile=profile, **vars(change))
                )
        except IntegrityError as error:
            raise self._conflict(model_name, replaces) from error
        return change

    def current(self, model_name: str) -> dict[str, Any] | None:
        """The newest reference; None where there is none."""
        return self._profile(model_name, reference_profile.c.number.desc())

    def original(self, model_name: str) -> dict[str, Any] | None:
        """The first reference; None where there is none."""
        return self._profile(model_name, reference_profile.c.number)

    def history(self, model_name: str) -> list[ReferenceChange]:
        """Every change, oldest first."""
        statement = select(*_KEYS).where(reference_profile.c.model_name == model_name)
        with self._reading() as connection:
            rows = connection.execute(statement.order_by(reference_profile.c.number)).all()
        return [ReferenceChange(**row._asdict()) for row in rows]

    def _profile(self, model_name: str, order: Any) -> dict[str, Any] | None:
        statement = select(reference_profile.c.profile).where(
            reference_profile.c.model_name == model_name
        )
        with self._reading() as connection:
            profile: dict[str, Any] | None = connection.execute(
                statement.order_by(order).limit(1)
            ).scalar()
        return profile

    @staticmethod
    def _last(connection: Connection, model_name: str) -> int:
        numbers = select(reference_profile.c.number).where(
            reference_profile.c.model_name == model_name
        )
        last = connection.execute(numbers.order_by(reference_profile.c.number.desc()).limit(1))
        return last.scalar() or 0

    @staticmethod
    def _conflict(model_name: str, replaces: int) -> ReferenceConflictError:
        return ReferenceConflictError(
            f"The reference of '{model_name}' is not number {replaces} any more; read the history "
            "and decide again."
        )
