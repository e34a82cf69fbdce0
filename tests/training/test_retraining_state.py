from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.reference_profiles import ReferenceConflictError, ReferenceProfileStore
from utils.training.retraining_state import TriggerPolicy, TriggerStateStore, UnknownFiringError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
EAGER = TriggerPolicy(windows_to_fire=1, windows_considered=1, cool_down_seconds=0, daily_budget=99)


@pytest.fixture
def open_store(database_url):
    stores = []

    def open_store(policy=EAGER):
        stores.append(TriggerStateStore(database_url, policy))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def feed(store, kinds, *, start=NOON, name="digits", every=timedelta(minutes=5)):
    """Evaluate one window for each letter: o(ver), w(arning) or c(alm)."""
    decisions = []
    for number, kind in enumerate(kinds):
        now = start + number * every
        decisions.append(
            store.evaluate(
                name,
                now.isoformat(),
                is_over=kind == "o",
                is_calm=kind == "c",
                reasons=["drift"] if kind == "o" else [],
                now=now,
            )
        )
    return decisions


@pytest.mark.parametrize(
    ("kinds", "fires_at"),
    [("o", None), ("oo", 1), ("owo", 2), ("owwo", None), ("cwcoo", 4), ("occo", None)],
)
def test_k_of_the_last_n_windows_fire(open_store, kinds, fires_at):
    decisions = feed(open_store(TriggerPolicy(windows_to_fire=2, windows_considered=3)), kinds)
    fired = [number for number, decision in enumerate(decisions) if decision.fires]
    assert fired == ([] if fires_at is None else [fires_at])


def test_what_held_a_window_back_is_said(open_store):
    store = open_store(TriggerPolicy(windows_to_fire=2, windows_considered=3))
    decisions = feed(store, "oooc")
    assert [d.held_back_by for d in decisions] == ["hysteresis", None, "disarmed", None]
    assert decisions[1].reasons == ("drift",)
    assert store.decisions("digits") == decisions[::-1]


def test_what_was_sustained_needs_no_further_window_but_a_calm_one_since_the_last_firing(
    open_store,
):
    store = open_store(
        TriggerPolicy(windows_to_fire=2, windows_considered=3, cool_down_seconds=0, daily_budget=9)
    )

    def sustained(window):
        return store.evaluate("digits", window, is_over=True, is_calm=False, is_sustained=True)

    first = sustained("alert 1")
    assert first.fires
    store.end(first.firing_id, "completed")
    assert sustained("alert 2").held_back_by == "disarmed"
    feed(store, "c")
    assert sustained("alert 3").fires


def test_only_a_calm_window_arms_again_and_older_windows_do_not_count(open_store):
    store = open_store(TriggerPolicy(windows_to_fire=2, windows_considered=3, cool_down_seconds=0))
    first = feed(store, "oo")[-1]
    store.end(first.firing_id, "completed")
    later = feed(store, "woocoo", start=NOON + timedelta(hours=1))
    held = [d.held_back_by for d in later]
    assert held == [None, "disarmed", "disarmed", None, "hysteresis", None]
    assert later[-1].fires


def test_a_cool_down_ends_at_its_last_second(open_store):
    store = open_store(
        TriggerPolicy(windows_to_fire=1, windows_considered=1, cool_down_seconds=3600)
    )
    store.end(feed(store, "o")[0].firing_id, "failed")
    early = feed(store, "o", start=NOON + timedelta(seconds=3599))[0]
    assert (early.fires, early.held_back_by) == (False, "cool_down")
    assert feed(store, "o", start=NOON + timedelta(seconds=3600))[0].fires


def test_one_job_of_a_model_is_in_flight(open_store):
    store = open_store()
    first = feed(store, "o")[0]
    store.attach_job(first.firing_id, "job-7")
    again = feed(store, "co", start=NOON + timedelta(hours=1))[1]
    assert again.held_back_by == "in_flight"
    assert feed(store, "o", name="prose")[0].fires
    flying = store.in_flight("digits")
    assert (flying.id, flying.job_id, flying.reasons) == (first.firing_id, "job-7", ("drift",))
    store.end(first.firing_id, "completed", now=NOON + timedelta(hours=2))
    assert store.in_flight("digits") is None
    assert store.firings("digits")[0].outcome == "completed"
    assert feed(store, "o", start=NOON + timedelta(hours=3))[0].fires


def test_the_budget_is_of_one_day(open_store):
    store = open_store(
        TriggerPolicy(windows_to_fire=1, windows_considered=1, cool_down_seconds=0, daily_budget=2)
    )
    for hour in range(3):
        decision = feed(store, "co", start=NOON + timedelta(hours=hour))[1]
        if decision.fires:
            store.end(decision.firing_id, "completed")
    assert decision.held_back_by == "budget"
    assert feed(store, "o", start=NOON + timedelta(hours=12))[0].fires


def test_a_failed_training_arms_again_and_a_cancelled_one_does_not(open_store):
    store = open_store()
    store.end(feed(store, "o")[0].firing_id, "failed")
    assert store.is_armed("digits")
    second = feed(store, "o", start=NOON + timedelta(hours=1))[0]
    assert second.fires
    store.end(second.firing_id, "cancelled")
    assert not store.is_armed("digits")


def test_a_restart_forgets_nothing(open_store):
    policy = TriggerPolicy(windows_to_fire=2, windows_considered=3)
    feed(open_store(policy), "o")
    fired = feed(open_store(policy), "o", start=NOON + timedelta(minutes=5))[0]
    assert fired.fires
    after = open_store(policy)
    assert not after.is_armed("digits")
    assert after.in_flight("digits").id == fired.firing_id


def test_a_window_is_decided_once(open_store):
    store = open_store()
    first, again = feed(store, "o")[0], feed(store, "o")[0]
    assert first.fires
    assert not again.fires
    assert (again.repeated, again.firing_id) == (True, first.firing_id)
    assert len(store.firings("digits")) == 1


@pytest.mark.parametrize("same_window", [True, False])
def test_of_evaluators_at_once_exactly_one_fires(open_store, same_window):
    evaluators, rounds = 6, 8
    stores = [open_store() for _ in range(evaluators)]
    for number in range(rounds):
        barrier = Barrier(evaluators)

        def evaluate(index, number=number, barrier=barrier):
            barrier.wait()
            window = f"{number}" if same_window else f"{number}-{index}"
            return stores[index].evaluate(
                f"model-{number}", window, is_over=True, is_calm=False, now=NOON
            )

        with ThreadPoolExecutor(evaluators) as pool:
            decisions = list(pool.map(evaluate, range(evaluators)))
        assert sum(decision.fires for decision in decisions) == 1
        assert len(stores[0].firings(f"model-{number}")) == 1


def test_naive_times_are_utc(open_store):
    store = open_store()
    store.evaluate("digits", "1", is_over=True, is_calm=False, now=NOON.replace(tzinfo=None))
    assert store.firings("digits")[0].fired_at == NOON


def test_what_can_not_be_is_refused(open_store):
    store = open_store()
    with pytest.raises(ValueError, match="calm at once"):
        store.evaluate("digits", "1", is_over=True, is_calm=True)
    with pytest.raises(ValueError, match="window is ''"):
        store.evaluate("digits", "", is_over=True, is_calm=False)
    with pytest.raises(UnknownFiringError, match="no firing 9 in flight"):
        store.end(9, "completed")
    with pytest.raises(UnknownNameError, match="Did you mean: completed"):
        store.end(9, "complete")
    with pytest.raises(InvalidConfigError, match="3 faults"):
        TriggerPolicy(windows_to_fire=4, cool_down_seconds=float("nan"), daily_budget=0)


@pytest.fixture
def profiles(database_url):
    with ReferenceProfileStore(database_url) as store:
        yield store


def test_a_rebase_is_audited_and_keeps_the_original(profiles):
    assert profiles.current("digits") is None
    profiles.rebase("digits", {"rows": 1}, actor="trainer", reason="first training", replaces=0)
    profiles.rebase("digits", {"rows": 2}, actor="ada", reason="new scanner", replaces=1)
    assert profiles.current("digits") == {"rows": 2}
    assert profiles.original("digits") == {"rows": 1}
    history = profiles.history("digits")
    assert [(c.number, c.actor, c.reason) for c in history] == [
        (1, "trainer", "first training"),
        (2, "ada", "new scanner"),
    ]
    assert history[1].set_at.tzinfo is not None


@pytest.mark.parametrize("replaces", [0, 2])
def test_a_rebase_of_a_reference_that_is_not_the_newest_is_refused(profiles, replaces):
    profiles.rebase("digits", {"rows": 1}, actor="trainer", reason="first", replaces=0)
    with pytest.raises(ReferenceConflictError, match=f"not number {replaces} any more"):
        profiles.rebase("digits", {"rows": 9}, actor="eve", reason="late", replaces=replaces)
    assert len(profiles.history("digits")) == 1


def test_of_two_rebases_at_once_one_holds(profiles, database_url):
    profiles.rebase("digits", {"rows": 0}, actor="trainer", reason="first", replaces=0)
    barrier = Barrier(2)

    def rebase(number):
        with ReferenceProfileStore(database_url) as store:
            barrier.wait()
            try:
                store.rebase("digits", {"rows": number}, actor="x", reason="y", replaces=1)
            except ReferenceConflictError:
                return False
            return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(rebase, range(2))) == [False, True]
    assert [change.number for change in profiles.history("digits")] == [1, 2]


@pytest.mark.parametrize("words", [{"actor": " "}, {"reason": ""}, {"replaces": -1}])
def test_a_rebase_says_who_and_why(profiles, words):
    given = {"actor": "ada", "reason": "because", "replaces": 0, **words}
    with pytest.raises(ValueError, match="say who and why"):
        profiles.rebase("digits", {}, **given)


def test_a_firing_and_its_job_are_one_transaction(open_store):
    store = open_store()

    def start(connection, firing_id):
        return f"job of {firing_id}"

    def fail(connection, firing_id):
        raise ConnectionError("the job could not be submitted")

    with pytest.raises(ConnectionError):
        store.evaluate("digits", "w1", is_over=True, is_calm=False, start=fail)
    assert store.firings("digits") == []
    assert store.decisions("digits") == []
    assert store.is_armed("digits")
    decision = store.evaluate("digits", "w1", is_over=True, is_calm=False, start=start)
    assert store.in_flight("digits").job_id == f"job of {decision.firing_id}"


def test_a_training_that_nothing_fired_counts_as_in_flight(open_store):
    store = open_store()
    held = store.evaluate("digits", "w1", is_over=True, is_calm=False, is_busy=True)
    assert held.held_back_by == "in_flight"
    assert store.evaluate("digits", "w2", is_over=True, is_calm=False).fires


def test_what_is_certain_needs_no_further_window_and_no_calm_one(open_store):
    store = open_store(TriggerPolicy(cool_down_seconds=3600))
    first = store.evaluate("digits", "w1", is_over=True, is_calm=False, now=NOON, is_certain=True)
    assert first.fires
    store.end(first.firing_id, "completed", NOON)
    assert not store.is_armed("digits")
    soon, later = NOON + timedelta(minutes=59), NOON + timedelta(hours=1)
    again = store.evaluate("digits", "w2", is_over=True, is_calm=False, now=soon, is_certain=True)
    assert again.held_back_by == "cool_down"
    assert store.evaluate(
        "digits", "w3", is_over=True, is_calm=False, now=later, is_certain=True
    ).fires


def test_every_brake_is_told_before_a_window_comes(open_store):
    store = open_store(TriggerPolicy(daily_budget=1, cool_down_seconds=60))
    assert store.brakes("digits", NOON) == ("hysteresis",)
    assert store.brakes("digits", NOON, is_busy=True) == ("hysteresis", "in_flight")
    feed(store, "o")
    assert store.brakes("digits", NOON) == ()
    feed(store, "o", start=NOON + timedelta(minutes=1))
    assert store.brakes("digits", NOON + timedelta(minutes=1)) == (
        "disarmed",
        "in_flight",
        "cool_down",
        "budget",
    )
    assert open_store().brakes("never seen", NOON) == ()
