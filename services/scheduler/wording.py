"""A trigger's decision in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from utils.service.contracts.jobs import TriggerRule
from utils.training.retraining_decisions import Brake, TriggerDecision


def of_decision(rule: TriggerRule, decision: TriggerDecision, job_id: int | None) -> str:
    """Why a window started a training, or why not."""
    if job_id is not None:
        return f"Job {job_id} trains the model again."
    if decision.held_back_by is not None:
        return f"No training: {_of_brake(rule, decision.held_back_by)}."
    return "No training: no trigger asked for one."


def of_outlook(rule: TriggerRule, brakes: Sequence[Brake], *, is_over: bool) -> str:
    """What another signal like the last one would lead to."""
    if not rule.enabled:
        return "Nothing would start a training: the rule is switched off."
    held = " and ".join(_of_brake(rule, brake) for brake in brakes)
    if not is_over:
        return "No training would start: no trigger asks for one" + (
            f", and {held}." if held else "."
        )
    return f"No training would start: {held}." if held else "A training would start."


def _of_brake(rule: TriggerRule, brake: Brake) -> str:
    return {
        "hysteresis": f"{rule.windows_to_fire} of the last {rule.windows} windows must ask for one",
        "disarmed": "one was started already, and no window has been below the warning level since",
        "in_flight": "one is under way",
        "cool_down": f"the last one was started less than {rule.cool_down_seconds:g} s ago",
        "budget": f"the budget of {rule.daily_budget} a day is used up",
    }[brake]
