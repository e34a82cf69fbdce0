"""From what was seen of a model to the job that trains it again, or to the reason why not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from services.scheduler import wording
from services.scheduler.findings import find, is_calm, job_of, policy_of, window_of
from services.scheduler.metrics import Counters
from services.scheduler.rules import TriggerRuleStore, UnknownTriggerError
from utils.service.contracts.jobs import Signal, TrainingJob, TriggerRule
from utils.service.contracts.triggers import SignalDecision, Trigger, TriggerExplanation
from utils.service.logs import current_trace_id
from utils.training.database import utc_now
from utils.training.job_queue import FINISHED, JobManager, JobStatus
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.submission import Submission, submit
from utils.training.retraining_decisions import TriggerDecision
from utils.training.retraining_state import Start, TriggerStateStore, UnknownFiringError
from utils.training.retraining_triggers import TriggerFinding

log = logging.getLogger(__name__)

_UNFINISHED = tuple(status for status in JobStatus if status not in FINISHED)
_ACTOR = "trigger"
_REASON_LENGTH = 2000


class Retraining:
    """Decides on signals and on age, and submits at most one job for what it decides."""

    def __init__(
        self,
        engine: Engine,
        manager: JobManager,
        counters: Counters,
        submitted: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._clock = DatabaseClock(engine)
        self._counters = counters
        self._submitted = submitted
        self.rules = TriggerRuleStore(engine)

    def signal(
        self, model_name: str, signal: Signal, key: str, *, is_sustained: bool = False
    ) -> SignalDecision:
        """Decide on one window; the same window again keeps its decision.

        Args:
            model_name: the model.
            signal: what was seen of it.
            key: names the window where the signal has no end of one.
            is_sustained: the sender has seen it for long enough; it needs no further windows.

        Raises:
            UnknownTriggerError: a LookupError; the model has no rule.
            InvalidConfigError: a ValueError; rule and extra data make no job.
        """
        trigger = self.rules.get(model_name)
        rule = trigger.rule
        job = job_of(rule, signal)
        window = window_of(signal, key)
        if not rule.enabled:
            return _switched_off(model_name, window)
        self.rules.note_signal(model_name, signal)
        findings = tuple(found for found in find(rule, signal) if found.trigger != "time")
        reasons = [found.reason for found in findings if found.fired]
        try:
            decision = self._decide(
                trigger,
                window,
                reasons,
                job,
                is_calm=not reasons and not is_sustained and is_calm(rule, signal),
                is_sustained=is_sustained,
            )
        except UnknownTriggerError:
            self.rules.get(model_name)  # was it dropped, or is it there?
            return _switched_off(model_name, window)
        return self._answer(trigger, decision, findings)

    def evaluate_ages(self) -> int:
        """Note what has ended, and train again what is too old; returns how many jobs that made."""
        fired, cursor = 0, None
        while True:
            page = self.rules.list(cursor)
            for trigger in page.items:
                self.settle(trigger.model_name)
                with suppress(UnknownTriggerError):  # dropped or switched off meanwhile
                    fired += self._evaluate_age(trigger)
            cursor = page.next_cursor
            if cursor is None:
                return fired

    def settle(self, model_name: str) -> None:
        """Note the end of the training that was in flight, if it has ended."""
        store = TriggerStateStore(self._engine)
        firing = store.in_flight(model_name)
        if firing is None or firing.job_id is None:
            return
        job = self._manager.get_job(int(firing.job_id))
        if job is not None and not job.is_finished:
            return
        # A job that was deleted meanwhile had ended long before.
        outcome = JobStatus.CANCELLED if job is None else job.status
        try:
            store.end(firing.id, outcome.value)  # type: ignore[arg-type]
        except UnknownFiringError:
            return  # another replica noted it first

    def explain(self, model_name: str) -> TriggerExplanation:
        """What would happen if the last signal came again now.

        Raises:
            UnknownTriggerError: a LookupError; the model has no rule.
        """
        self.settle(model_name)
        trigger = self.rules.get(model_name)
        store = self._store(trigger.rule)
        last_trained_at = self._last_trained_at(trigger)
        findings = find(trigger.rule, trigger.last_signal or Signal(), last_trained_at)
        brakes = store.brakes(model_name, is_busy=self._is_busy(model_name))
        if any(found.fired and found.trigger == "time" for found in findings):
            brakes = tuple(brake for brake in brakes if brake not in {"disarmed", "hysteresis"})
        is_over = any(found.fired for found in findings)
        return TriggerExplanation(
            model_name=model_name,
            enabled=trigger.rule.enabled,
            would_fire=trigger.rule.enabled and is_over and not brakes,
            explanation=wording.of_outlook(trigger.rule, brakes, is_over=is_over),
            findings=findings,
            brakes=brakes,
            armed=store.is_armed(model_name),
            in_flight=store.in_flight(model_name),
            last_trained_at=last_trained_at,
            last_signal_at=trigger.last_signal_at,
            firings=tuple(store.firings(model_name)[:10]),
            decisions=tuple(store.decisions(model_name, 10)),
        )

    def _evaluate_age(self, trigger: Trigger) -> int:
        rule, now = trigger.rule, utc_now()
        if not rule.enabled or rule.time_threshold_days is None:
            return 0
        last = self._last_trained_at(trigger) or trigger.created_at
        reasons = [found.reason for found in find(rule, Signal(), last) if found.fired]
        brakes = self._store(rule).brakes(
            trigger.model_name, now, is_busy=self._is_busy(trigger.model_name)
        )
        # Age is looked at every few seconds; only a look that changes something is a window.
        if not reasons or {"in_flight", "cool_down", "budget"} & set(brakes):
            return 0
        window = f"age of {last.isoformat()} at {now:%Y-%m-%dT%H:%MZ}"
        decision = self._decide(
            trigger, window, reasons, rule.job, is_calm=False, is_certain=True, now=now
        )
        return int(decision.fires)

    def _decide(
        self,
        trigger: Trigger,
        window: str,
        reasons: Sequence[str],
        job: TrainingJob,
        *,
        is_calm: bool,
        is_certain: bool = False,
        is_sustained: bool = False,
        now: datetime | None = None,
    ) -> TriggerDecision:
        model_name = trigger.model_name
        self.settle(model_name)
        decision = self._store(trigger.rule).evaluate(
            model_name,
            window,
            is_over=bool(reasons),
            is_calm=is_calm,
            reasons=reasons,
            now=now,
            start=self._starting(trigger.rule, job, reasons),
            is_busy=self._is_busy(model_name),
            is_certain=is_certain,
            is_sustained=is_sustained,
        )
        self._count(model_name, decision)
        return decision

    def _starting(self, rule: TriggerRule, job: TrainingJob, reasons: Sequence[str]) -> Start:
        wanted = Submission(
            job_type="training",
            config=job.model_dump(mode="json"),
            model_name=job.model_name,
            trace_id=current_trace_id(),
            reason=" ".join(reasons)[:_REASON_LENGTH],
            priority=rule.priority,
            max_attempts=rule.max_attempts,
            resources=rule.resources,
            actor=_ACTOR,
        )

        def start(connection: Connection, firing_id: int) -> str:
            self.rules.hold(connection, job.model_name)
            submission = replace(wanted, idempotency_key=f"firing:{firing_id}")
            return str(submit(connection, self._clock, submission))

        return start

    def _count(self, model_name: str, decision: TriggerDecision) -> None:
        if decision.repeated:
            return
        if decision.fires:
            self._submitted()
            self._counters.fired.labels(model_name).inc()
            log.info("%s is trained again: %s", model_name, " ".join(decision.reasons))
        kind = "fired" if decision.fires else decision.held_back_by or "quiet"
        self._counters.decisions.labels(model_name, kind).inc()

    def _answer(
        self, trigger: Trigger, decision: TriggerDecision, findings: tuple[TriggerFinding, ...]
    ) -> SignalDecision:
        job_id = self._job_of(trigger.model_name, decision.firing_id)
        return SignalDecision(
            model_name=trigger.model_name,
            window=decision.window,
            fired=decision.firing_id is not None,
            job_id=job_id,
            held_back_by=decision.held_back_by,
            reasons=decision.reasons,
            explanation=wording.of_decision(trigger.rule, decision, job_id),
            findings=findings,
            repeated=decision.repeated,
        )

    def _job_of(self, model_name: str, firing_id: int | None) -> int | None:
        firings = [] if firing_id is None else TriggerStateStore(self._engine).firings(model_name)
        found = next((firing.job_id for firing in firings if firing.id == firing_id), None)
        return None if found is None else int(found)

    def _is_busy(self, model_name: str) -> bool:
        unfinished = self._manager.list_jobs(
            _UNFINISHED, job_type="training", model_name=model_name, limit=1
        )
        return bool(unfinished.items)

    def _last_trained_at(self, trigger: Trigger) -> datetime | None:
        newest = self._manager.list_jobs(
            JobStatus.COMPLETED, job_type="training", model_name=trigger.model_name, limit=1
        )
        return newest.items[0].finished_at if newest.items else None

    def _store(self, rule: TriggerRule) -> TriggerStateStore:
        return TriggerStateStore(self._engine, policy_of(rule))


def _switched_off(model_name: str, window: str) -> SignalDecision:
    return SignalDecision(
        model_name=model_name,
        window=window,
        fired=False,
        job_id=None,
        held_back_by=None,
        reasons=(),
        explanation="No training: the rule is switched off.",
    )
