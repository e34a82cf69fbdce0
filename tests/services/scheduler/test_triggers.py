"""Triggers: signals that submit at most one job, ages that do, and what is said of both."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from services.scheduler.retraining import Retraining
from utils.service.contracts.jobs import DataSource, Signal, TriggerRule
from utils.service.http import RemoteError
from utils.service.logs import tracing
from utils.training.job_queue.tables import job as job_table

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
DRIFTED = DataSource(kind="jsonl", location="new.jsonl")


def refused(status):
    return pytest.raises(RemoteError, check=lambda error: error.status == status)


@pytest.fixture
def rule(config):
    return TriggerRule(job=config, windows=3, windows_to_fire=2, cool_down_seconds=0)


@pytest.fixture
def send(web):
    """Send the drift of one window after another."""
    windows = []

    def send(score=None, **values):
        windows.append(START + timedelta(minutes=len(windows)))
        signal = Signal(drift_score=score, **{"window_end": windows[-1]} | values)
        return web.trainer.signal("digits", signal)

    return send


def jobs_of(web):
    return web.reader.list_jobs(model_name="digits").items


def end_job(web, outcome="completed", **values):
    job = web.trainer.claim("w")
    return web.trainer.finish(job.job_id, job.fencing_token, outcome, **values)


def test_drift_in_two_of_three_windows_submits_one_job_with_its_reasons(web, rule, send):
    web.submitter.put_trigger("digits", rule)
    first = send(0.5)
    assert (first.fired, first.held_back_by) == (False, "hysteresis")
    assert first.explanation == ("No training: 2 of the last 3 windows must ask for one.")
    assert send(0.15).explanation == "No training: no trigger asked for one."
    with tracing("b" * 32):
        fired = send(0.41, extra_data=[DRIFTED, rule.job.data[0]])
    (job,) = jobs_of(web)
    assert (fired.fired, fired.job_id) == (True, job.job_id)
    assert fired.explanation == f"Job {job.job_id} trains the model again."
    assert "0.41 bits" in job.reason
    assert job.trace_id == "b" * 32
    assert [source["location"] for source in job.config["data"]] == ["digits", "new.jsonl"]


def test_the_job_has_the_resources_attempts_and_priority_of_the_rule(web, rule, send):
    wanted = {"resources": {"gpus": 2}, "max_attempts": 5, "priority": 7}
    changes = wanted | {"windows_to_fire": 1}
    web.submitter.put_trigger("digits", rule.model_copy(update=changes))
    assert send(0.5).fired
    (job,) = jobs_of(web)
    assert {name: getattr(job, name) for name in wanted} == wanted


def test_a_rule_whose_job_no_trainer_could_do_is_refused(web, rule):
    config = {"training_config": {"epochs": 0}}
    faulty = rule.model_copy(update={"job": rule.job.model_copy(update=config)})
    with pytest.raises(RemoteError, match="training_config: epochs is 0"):
        web.submitter.put_trigger("digits", faulty)


def test_a_window_that_comes_again_keeps_its_decision_and_its_job(web, rule):
    web.submitter.put_trigger("digits", rule.model_copy(update={"windows_to_fire": 1}))
    signal = Signal(drift_score=0.5, window_end=START, model_version="7")
    first, again = (web.trainer.signal("digits", signal) for _ in range(2))
    assert (first.fired, first.repeated) == (True, False)
    assert (again.fired, again.repeated, again.job_id) == (True, True, first.job_id)
    keyed = Signal(drift_score=0.5)
    for key in ("k1", "k1", "k2"):
        web.trainer.signal("digits", keyed, idempotency_key=key)
    assert len(web.reader.explain_trigger("digits").decisions) == 3
    assert len(jobs_of(web)) == 1


def test_after_a_training_only_a_calm_window_arms_the_trigger_again(web, rule, send):
    web.submitter.put_trigger("digits", rule)
    assert [send(0.5).held_back_by for _ in range(3)] == ["hysteresis", None, "disarmed"]
    end_job(web)
    assert send(0.5).held_back_by == "disarmed"
    send(0.05)
    assert send(0.5).held_back_by == "hysteresis"
    assert send(0.5).fired
    assert len(jobs_of(web)) == 2


def test_a_failed_training_may_be_followed_by_another(web, rule, send):
    web.submitter.put_trigger("digits", rule.model_copy(update={"windows_to_fire": 1}))
    assert send(0.5).fired
    end_job(web, "failed", error="out of memory", retryable=False)
    assert send(0.5).fired


def test_cool_down_and_budget_hold_trainings_back(web, rule, send):
    eager = rule.model_copy(update={"windows_to_fire": 1, "windows": 1})
    web.submitter.put_trigger("digits", eager.model_copy(update={"cool_down_seconds": 3600.0}))
    assert send(0.5).fired
    end_job(web, "failed", error="x", retryable=False)
    assert send(0.5).held_back_by == "cool_down"
    web.submitter.put_trigger("digits", eager.model_copy(update={"daily_budget": 1}))
    held = send(0.5)
    assert held.held_back_by == "budget"
    assert held.explanation == "No training: the budget of 1 a day is used up."


def test_a_training_that_a_user_started_is_the_one_in_flight(web, rule, send, config):
    web.submitter.put_trigger("digits", rule.model_copy(update={"windows_to_fire": 1}))
    web.submitter.submit("training", config)
    assert send(0.5).held_back_by == "in_flight"
    end_job(web)
    assert send(0.5).fired


def test_worse_metrics_and_new_data_fire_too(web, rule, send):
    web.submitter.put_trigger(
        "digits", rule.model_copy(update={"windows_to_fire": 1, "data_volume_threshold": 500})
    )
    worse = {"current_metrics": {"accuracy": 0.7}, "baseline_metrics": {"accuracy": 0.95}}
    decision = send(new_data_count=600, **worse)
    assert decision.fired
    assert {finding.trigger for finding in decision.findings if finding.fired} == {
        "performance",
        "data_volume",
    }


def test_signals_from_many_at_once_submit_one_job(web, rule):
    web.submitter.put_trigger("digits", rule.model_copy(update={"windows_to_fire": 1}))

    def send(number):
        signal = Signal(drift_score=0.5, window_end=START + timedelta(minutes=number % 3))
        return web.trainer.signal("digits", signal)

    with ThreadPoolExecutor(12) as pool:
        decisions = list(pool.map(send, range(24)))
    assert sum(decision.fired and not decision.repeated for decision in decisions) == 1
    assert len(jobs_of(web)) == 1


def test_a_switched_off_rule_decides_nothing(web, rule, send):
    web.submitter.put_trigger(
        "digits", rule.model_copy(update={"enabled": False, "windows_to_fire": 1})
    )
    decision = send(0.9)
    assert (decision.fired, decision.explanation) == (
        False,
        "No training: the rule is switched off.",
    )
    assert jobs_of(web) == ()
    assert web.reader.explain_trigger("digits").decisions == ()
    assert "switched off" in web.reader.explain_trigger("digits").explanation


def test_explain_says_what_would_fire_what_not_and_why(web, rule, send):
    web.submitter.put_trigger("digits", rule)
    before = web.reader.explain_trigger("digits")
    assert not before.would_fire
    assert before.armed
    assert before.explanation == (
        "No training would start: no trigger asks for one, and 2 of the last 3 windows must ask "
        "for one."
    )
    send(0.5)
    ready = web.reader.explain_trigger("digits")
    assert (ready.would_fire, ready.explanation) == (True, "A training would start.")
    found = {finding.trigger: finding for finding in ready.findings}
    assert found["drift"].fired
    assert "0.5 bits" in found["drift"].reason
    assert found["time"].reason == "The rule sets no threshold for it."
    fired = send(0.5)
    held = web.reader.explain_trigger("digits")
    assert held.brakes == ("disarmed", "in_flight")
    assert held.in_flight.job_id == str(fired.job_id)
    assert not held.would_fire
    end_job(web)
    assert web.reader.explain_trigger("digits").in_flight is None
    assert web.reader.explain_trigger("digits").last_trained_at is not None


def age_the_last_training(parts, **by):
    with parts.engine.begin() as connection:
        connection.execute(
            update(job_table).values(finished_at=datetime.now(UTC) - timedelta(**by))
        )


def test_a_model_that_is_too_old_is_trained_again_once(web, rule, parts, config):
    web.submitter.put_trigger("digits", rule.model_copy(update={"time_threshold_days": 7.0}))
    web.submitter.submit("training", config)
    end_job(web)
    age_the_last_training(parts, days=6)
    assert parts.retraining.evaluate_ages() == 0
    age_the_last_training(parts, days=8)
    assert web.reader.explain_trigger("digits").would_fire
    assert parts.retraining.evaluate_ages() == 1
    assert parts.retraining.evaluate_ages() == 0
    newest = jobs_of(web)[0]
    assert newest.reason.startswith("Time: the last training was 8.0 days ago")
    end_job(web)
    assert parts.retraining.evaluate_ages() == 0
    assert len(jobs_of(web)) == 2


@pytest.mark.parametrize("change", ["dropped", "switched off"])
def test_a_rule_that_went_since_it_was_read_trains_nothing(web, rule, parts, monkeypatch, change):
    old = rule.model_copy(update={"time_threshold_days": 1e-9})
    web.submitter.put_trigger("digits", old)

    def drop():
        web.submitter.delete_trigger("digits")

    def switch_off():
        web.submitter.put_trigger("digits", old.model_copy(update={"enabled": False}))

    changes = [drop if change == "dropped" else switch_off]

    def is_busy(_):
        if changes:
            changes.pop()()
        return False

    monkeypatch.setattr(parts.retraining, "_is_busy", is_busy)
    assert parts.retraining.evaluate_ages() == 0
    assert not jobs_of(web)


def test_ages_are_of_every_model_and_of_no_rule_that_has_no_limit(web, rule, parts, monkeypatch):
    short = rule.model_copy(update={"time_threshold_days": 1e-9})
    for name in ("a", "b", "c"):
        own = short.job.model_copy(update={"model_name": name})
        web.submitter.put_trigger(name, short.model_copy(update={"job": own}))
    web.submitter.put_trigger("digits", rule)
    many = parts.retraining.rules.list
    monkeypatch.setattr(parts.retraining.rules, "list", lambda cursor: many(cursor, 2))
    assert parts.retraining.evaluate_ages() == 3
    assert {job.model_name for job in web.reader.list_jobs().items} == {"a", "b", "c"}


def test_a_firing_whose_job_was_deleted_is_over(web, rule, send, parts):
    web.submitter.put_trigger("digits", rule.model_copy(update={"windows_to_fire": 1}))
    send(0.5)
    end_job(web)
    parts.manager.delete_finished(datetime.now(UTC) + timedelta(days=1))
    assert web.reader.explain_trigger("digits").in_flight is None


def test_rules_are_kept_by_model(web, rule):
    made = web.submitter.put_trigger("digits", rule)
    assert made.updated_by == "the submitter"
    other = rule.model_copy(update={"job": rule.job.model_copy(update={"model_name": "a"})})
    web.submitter.put_trigger("a", other)
    web.submitter.put_trigger("digits", rule.model_copy(update={"daily_budget": 9}))
    page = web.reader.list_triggers(limit=1)
    (last,) = web.reader.list_triggers(limit=1, cursor=page.next_cursor).items
    assert page.items[0].model_name == "a"
    assert (last.rule.daily_budget, last.created_at) == (9, made.created_at)
    web.submitter.delete_trigger("digits")
    for call in (web.reader.get_trigger, web.submitter.delete_trigger, web.reader.explain_trigger):
        with refused(404):
            call("digits")
    with refused(404):
        web.trainer.signal("digits", Signal(drift_score=0.1))


def test_a_rule_that_could_never_fire_is_refused(web, rule):
    for model, wrong in (
        ("other", {}),
        ("digits", {"drift_warning": 0.3}),
        ("digits", {"windows": 1}),
    ):
        with refused(422):
            web.submitter.put_trigger(model, rule.model_copy(update=wrong))
    assert web.reader.list_triggers().items == ()


def test_more_data_than_a_job_may_have_is_refused(web, rule, send, config):
    sources = [{"kind": "jsonl", "location": f"{n}.jsonl"} for n in range(15)]
    full = rule.model_copy(update={"job": rule.job.model_validate(config | {"data": sources})})
    web.submitter.put_trigger("digits", full)
    with refused(422):
        send(0.5, extra_data=[DataSource(kind="csv", location=f"{n}.csv") for n in range(10)])


def test_two_that_note_the_same_end_do_no_harm(web, rule, send, parts):
    web.submitter.put_trigger("digits", rule.model_copy(update={"windows_to_fire": 1}))
    send(0.5)
    end_job(web)
    second = Retraining(parts.engine, parts.manager, parts.counters, parts.nudge)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: one.settle("digits"), [parts.retraining, second] * 8))
    (firing,) = web.reader.explain_trigger("digits").firings
    assert firing.outcome == "completed"
