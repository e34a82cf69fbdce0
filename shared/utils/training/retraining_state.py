"""What retraining must not forget: hysteresis, cool-down, the job in flight, and the day's budget.

:class:`~utils.training.retraining_triggers.RetrainingTriggerManager` says whether one window of
data asks for a training; :class:`TriggerStateStore` says whether one is started. Its decision is
taken under the lock of the model's row, so of any number of evaluators exactly one fires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from utils.training.database import Guard, Store, conflict_insert, unguarded, utc_now
from utils.training.database.checks import check_name
from utils.training.errors import (
    InvalidArgumentError,
    InvalidConfigError,
    TrainingError,
    UnknownNameError,
)
from utils.training.retraining_decisions import Brake, Outcome, TriggerDecision, TriggerFiring
from utils.training.retraining_tables import trigger_evaluation, trigger_firing, trigger_state

Start = Callable[[Connection, int], str]
"""Submits a firing's training in the transaction that decided it, and returns the job's id."""


class UnknownFiringError(TrainingError, LookupError):
    """A firing that is not there, or that ended already."""


@dataclass(frozen=True)
class TriggerPolicy:
    """The brakes of automatic retraining.

    Raises:
        InvalidConfigError: a ValueError that lists every value out of its range.
    """

    windows_to_fire: int = 2  # k: so many of the last windows must ask for a training
    windows_considered: int = 3  # n
    cool_down_seconds: float = 6 * 3600.0  # from one firing to the next
    daily_budget: int = 2  # firings in one day of UTC

    def __post_init__(self) -> None:
        """Refuse what could never fire."""
        faults = []
        if not 1 <= self.windows_to_fire <= self.windows_considered:
            faults.append(
                f"windows_to_fire is {self.windows_to_fire} and windows_considered is "
                f"{self.windows_considered}, allowed is 1 <= windows_to_fire <= windows_considered."
            )
        if not self.cool_down_seconds >= 0:
            faults.append(f"cool_down_seconds is {self.cool_down_seconds}, allowed is 0 or more.")
        if self.daily_budget < 1:
            faults.append(f"daily_budget is {self.daily_budget}, allowed is 1 or more.")
        if faults:
            raise InvalidConfigError(faults)


class TriggerStateStore(Store):
    """Decides, window by window, whether a training is started, and forgets nothing at a restart.

    Args:
        location: what :class:`~utils.training.database.Store` opens.
        policy: the brakes.
        guard: called first in each writing transaction.
    """

    def __init__(
        self,
        location: str | Path | Engine,
        policy: TriggerPolicy | None = None,
        *,
        guard: Guard = unguarded,
    ) -> None:
        super().__init__(location, guard=guard)
        self._policy = policy or TriggerPolicy()

    def evaluate(
        self,
        model_name: str,
        window: str,
        *,
        is_over: bool,
        is_calm: bool,
        reasons: Sequence[str] = (),
        now: datetime | None = None,
        start: Start | None = None,
        is_busy: bool = False,
        is_certain: bool = False,
        is_sustained: bool = False,
    ) -> TriggerDecision:
        """Count a window, and decide.

        A firing disarms the model until a window is calm again, or until its training failed. A
        window that was decided before keeps its decision, whoever asks; it fires only once.

        Args:
            model_name: the model.
            window: the window's own key, such as its end in ISO 8601.
            is_over: the window asks for a training.
            is_calm: everything is below the warning level.
            reasons: the sentences of the triggers that fired.
            now: the present; the clock's time where left out.
            start: called when the window fires, in the same transaction: a firing without its job
                is never seen. Without it, the caller submits the job and calls `attach_job`.
            is_busy: a training that no firing started is under way; it counts as one in flight.
            is_certain: what is over is no noisy measurement, as the age of a model is none: it
                fires without further windows, and without a calm one since the last firing.
            is_sustained: somebody else has seen it over for long enough, as an alert is before it
                fires: it needs no further windows, but all other brakes hold.

        Raises:
            ValueError: the window is over and calm at once.
        """
        check_name("model_name", model_name)
        check_name("window", window)
        if is_over and is_calm:
            raise InvalidArgumentError(
                f"Window '{window}' is over the threshold and calm at once; it can be only one."
            )
        present = utc_now() if now is None else _utc(now)
        seen = {"is_over": is_over, "is_calm": is_calm, "reasons": list(reasons)}
        with self._writing() as connection:
            state = self._lock(connection, model_name)
            known = connection.execute(_decisions(model_name, window)).first()
            if known is not None:
                return _decision(known, repeated=True)
            row = {"model_name": model_name, "window": window, "at": present, **seen}
            evaluation = connection.execute(
                insert(trigger_evaluation).values(row).returning(trigger_evaluation.c.id)
            ).scalar_one()
            if is_calm and not state.armed:
                self._arm(connection, model_name)
            if is_over:
                over: int | None = self._count_over(connection, state)
                if is_sustained:
                    over = self._policy.windows_to_fire
                if is_certain:
                    over = None
                brakes = self._brakes(connection, state, present, over, is_busy=is_busy)
                brake = next(brakes, None)
                firing = None if brake else self._fire(connection, row, start)
                self._conclude(connection, evaluation, brake, firing)
            return _decision(connection.execute(_decisions(model_name, window)).one())

    def attach_job(self, firing_id: int, job_id: str) -> None:
        """Note the job that a firing became.

        Raises:
            UnknownFiringError: a LookupError; there is no such firing in flight.
        """
        self._update(firing_id, job_id=job_id)

    def end(self, firing_id: int, outcome: Outcome, now: datetime | None = None) -> None:
        """Note that a firing's training ended; after a failure the model is armed again at once.

        Raises:
            UnknownFiringError: a LookupError; there is no such firing in flight.
            UnknownNameError: a ValueError; the outcome is not known.
        """
        if outcome not in get_args(Outcome):
            raise UnknownNameError("outcome", str(outcome), get_args(Outcome))
        ended_at = utc_now() if now is None else _utc(now)
        self._update(firing_id, outcome=outcome, ended_at=ended_at)

    def in_flight(self, model_name: str) -> TriggerFiring | None:
        """The firing whose training has not ended: after a crash its job is submitted again."""
        open_firing = trigger_firing.c.ended_at.is_(None)
        with self._reading() as connection:
            row = connection.execute(_firings(model_name).where(open_firing)).first()
        return None if row is None else _firing(row)

    def firings(self, model_name: str) -> list[TriggerFiring]:
        """Every firing, the newest first."""
        statement = _firings(model_name).order_by(trigger_firing.c.id.desc())
        with self._reading() as connection:
            return [_firing(row) for row in connection.execute(statement)]

    def decisions(self, model_name: str, limit: int = 100) -> list[TriggerDecision]:
        """The last windows' decisions, the newest first."""
        statement = _decisions(model_name).order_by(trigger_evaluation.c.id.desc()).limit(limit)
        with self._reading() as connection:
            return [_decision(row) for row in connection.execute(statement)]

    def is_armed(self, model_name: str) -> bool:
        """False from a firing on until a calm window."""
        statement = select(trigger_state.c.armed).where(trigger_state.c.model_name == model_name)
        with self._reading() as connection:
            armed: bool | None = connection.execute(statement).scalar()
        return armed is not False

    def brakes(
        self, model_name: str, now: datetime | None = None, *, is_busy: bool = False
    ) -> tuple[Brake, ...]:
        """Every brake that would hold back a window that was over now; arguments as `evaluate`."""
        present = utc_now() if now is None else _utc(now)
        statement = select(trigger_state).where(trigger_state.c.model_name == model_name)
        with self._reading() as connection:
            state = connection.execute(statement).first()
            if state is not None:
                over = self._count_over(connection, state, still_to_come=1)
                return tuple(self._brakes(connection, state, present, over, is_busy=is_busy))
        unseen: list[Brake] = ["hysteresis"] if self._policy.windows_to_fire > 1 else []
        return (*unseen, "in_flight") if is_busy else tuple(unseen)

    def _lock(self, connection: Connection, model_name: str) -> Row[Any]:
        """Make the model's row, or lock it until the transaction ends."""
        statement = conflict_insert(self._engine, trigger_state).values(
            model_name=model_name, armed=True, counted_from=0, evaluations=1
        )
        return connection.execute(
            statement.on_conflict_do_update(
                index_elements=["model_name"],
                set_={"evaluations": trigger_state.c.evaluations + 1},
            ).returning(*trigger_state.c)
        ).one()

    def _conclude(
        self, connection: Connection, evaluation: int, brake: Brake | None, firing: int | None
    ) -> None:
        connection.execute(
            update(trigger_evaluation)
            .where(trigger_evaluation.c.id == evaluation)
            .values(held_back_by=brake, firing_id=firing)
        )

    def _count_over(
        self, connection: Connection, state: Row[Any], *, still_to_come: int = 0
    ) -> int:
        """How many of the windows considered are over; those still to come will be."""
        last = select(trigger_evaluation.c.is_over).where(
            trigger_evaluation.c.model_name == state.model_name,
            trigger_evaluation.c.id > state.counted_from,
        )
        size = self._policy.windows_considered - still_to_come
        last = last.order_by(trigger_evaluation.c.id.desc()).limit(size)
        return sum(connection.execute(last).scalars()) + still_to_come

    def _brakes(
        self,
        connection: Connection,
        state: Row[Any],
        now: datetime,
        over: int | None,
        *,
        is_busy: bool = False,
    ) -> Iterator[Brake]:
        """Every brake that holds a firing back; ``over`` None leaves out what is against noise."""
        if over is not None and not state.armed:
            yield "disarmed"
        if over is not None and over < self._policy.windows_to_fire:
            yield "hysteresis"
        yield from self._firing_brakes(connection, state.model_name, now, is_busy=is_busy)

    def _firing_brakes(
        self, connection: Connection, model_name: str, now: datetime, *, is_busy: bool
    ) -> Iterator[Brake]:
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        fired_at = trigger_firing.c.fired_at
        in_flight, newest, used = connection.execute(
            select(
                func.count().filter(trigger_firing.c.ended_at.is_(None)),
                func.max(fired_at),
                func.count().filter(fired_at >= day, fired_at < day + timedelta(days=1)),
            ).where(trigger_firing.c.model_name == model_name)
        ).one()
        if in_flight or is_busy:
            yield "in_flight"
        if newest is not None and now < newest + timedelta(seconds=self._policy.cool_down_seconds):
            yield "cool_down"
        if used >= self._policy.daily_budget:
            yield "budget"

    def _fire(self, connection: Connection, window: dict[str, Any], start: Start | None) -> int:
        model_name = window["model_name"]
        firing_id: int = connection.execute(
            insert(trigger_firing)
            .values(model_name=model_name, fired_at=window["at"], reasons=window["reasons"])
            .returning(trigger_firing.c.id)
        ).scalar_one()
        connection.execute(
            update(trigger_state)
            .where(trigger_state.c.model_name == model_name)
            .values(armed=False)
        )
        if start is not None:
            job_id = start(connection, firing_id)
            connection.execute(
                update(trigger_firing).where(trigger_firing.c.id == firing_id).values(job_id=job_id)
            )
        return firing_id

    def _arm(self, connection: Connection, model_name: str) -> None:
        """Let the model fire again; windows up to here count no more."""
        newest = select(func.coalesce(func.max(trigger_evaluation.c.id), 0)).where(
            trigger_evaluation.c.model_name == model_name
        )
        connection.execute(
            update(trigger_state)
            .where(trigger_state.c.model_name == model_name)
            .values(armed=True, counted_from=newest.scalar_subquery())
        )

    def _update(self, firing_id: int, **values: Any) -> None:
        with self._writing() as connection:
            model_name = connection.execute(
                update(trigger_firing)
                .where(trigger_firing.c.id == firing_id, trigger_firing.c.ended_at.is_(None))
                .values(**values)
                .returning(trigger_firing.c.model_name)
            ).scalar()
            if model_name is None:
                raise UnknownFiringError(
                    f"There is no firing {firing_id} in flight; read `firings` of the model."
                )
            if values.get("outcome") == "failed":
                self._arm(connection, model_name)


def _firings(model_name: str) -> Any:
    return select(trigger_firing).where(trigger_firing.c.model_name == model_name)


def _firing(row: Row[Any]) -> TriggerFiring:
    return TriggerFiring(**{**row._asdict(), "reasons": tuple(row.reasons)})


def _decisions(model_name: str, window: str | None = None) -> Any:
    columns = trigger_evaluation.c
    statement = select(
        columns.window, columns.is_over, columns.firing_id, columns.held_back_by, columns.reasons
    ).where(columns.model_name == model_name)
    return statement if window is None else statement.where(columns.window == window)


def _decision(row: Row[Any], *, repeated: bool = False) -> TriggerDecision:
    values = {**row._asdict(), "reasons": tuple(row.reasons)}
    return TriggerDecision(**values, repeated=repeated)


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
