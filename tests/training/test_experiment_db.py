from __future__ import annotations

import hashlib
import math
import multiprocessing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from utils.training.errors import UnknownNameError
from utils.training.experiment_db import (
    ExperimentDB,
    MetricPoint,
    RunConflictError,
    UnknownRunError,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def db(database_url):
    with ExperimentDB(database_url) as db:
        yield db


@pytest.fixture
def run_id(db):
    return db.log_run("run")


def values(db, run_id, name=None):
    return db.get_metrics(run_id, name)["value"].tolist()


def ids(page):
    return [item.run_id for item in page.items]


# Runs


def test_a_run_comes_back_whole(db):
    config = {"z": 1, "optimizer": {"name": "adamw", "eps": math.inf, "betas": [0.9, 0.95]}}
    before = datetime.now(UTC)
    run_id = db.log_run("a", config, notes="n", params={"seed": np.int64(3)}, tags={"team": "x"})
    run = db.get_run(run_id)
    assert (run.run_id, run.name, run.status, run.notes) == (run_id, "a", "running", "n")
    assert list(run.config) == ["z", "optimizer"]
    assert run.config == config
    assert run.params == {
        "z": 1,
        "optimizer.name": "adamw",
        "optimizer.eps": math.inf,
        "optimizer.betas": [0.9, 0.95],
        "seed": 3,
    }
    assert (run.tags, run.metrics) == ({"team": "x"}, {})
    assert before <= run.created_at <= datetime.now(UTC)
    assert (run.ended_at, run.duration_seconds) == (None, None)
    assert db.get_run(run_id + 1) is None


def test_a_retry_with_its_key_begins_no_second_run(db):
    content = {"config": {"a": math.nan}, "tags": {"t": "1"}, "idempotency_key": "k"}
    first = db.log_run("a", **content)
    assert db.log_run("a", **content) == first
    with pytest.raises(RunConflictError, match=f"The idempotency key 'k' belongs to run {first}"):
        db.log_run("b", **content)
    assert ids(db.list_runs()) == [first]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "name is ''"),
        ({"config": {"x": object()}}, "which JSON has not"),
        ({"params": {"p" * 256: 1}}, "A parameter's name is"),
        ({"tags": {"": "x"}}, "A tag's name is ''"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_written(db, wrong, message):
    with pytest.raises(ValueError, match=message):
        db.log_run(**{"name": "a"} | wrong)
    assert db.list_runs().items == ()


def test_parameters_are_written_once(db, run_id):
    db.log_params(run_id, {"lr": 0.1, "nan": math.nan})
    db.log_params(run_id, {"lr": 0.1, "nan": math.nan, "seed": 1})
    with pytest.raises(RunConflictError, match=r"lr is 0\.1, not 0\.2; start a new run"):
        db.log_params(run_id, {"lr": 0.2, "new": 5})
    db.log_params(run_id, {})
    assert set(db.get_run(run_id).params) == {"lr", "nan", "seed"}


def test_tags_can_change(db, run_id):
    db.set_tags(run_id, {"stage": "try", "team": "x"})
    db.set_tags(run_id, {"stage": "final"})
    db.set_tags(run_id, {})
    assert db.get_run(run_id).tags == {"stage": "final", "team": "x"}


def test_every_write_to_an_unknown_run_says_so(db, tmp_path):
    for write in (
        lambda: db.log_metric(9, "loss", 1.0),
        lambda: db.log_metrics(9, {"loss": 1.0}),
        lambda: db.log_params(9, {"a": 1}),
        lambda: db.set_tags(9, {"a": "b"}),
        lambda: db.log_artifact(9, tmp_path),
        lambda: db.update_run_status(9, "completed"),
        lambda: db.get_metrics(9),
        lambda: db.list_metric_points(9),
        lambda: db.list_artifacts(9),
        lambda: db.compare_runs([9]),
    ):
        with pytest.raises(UnknownRunError, match="There is no run 9"):
            write()
    assert issubclass(UnknownRunError, LookupError)


def test_a_guard_refuses_every_write(db, run_id):
    def refuse(_):
        raise PermissionError("The claim is stale.")

    guarded = db.guarded_by(refuse)
    for write in (
        lambda: guarded.log_run("b"),
        lambda: guarded.log_metric(run_id, "loss", 1.0),
        lambda: guarded.log_params(run_id, {"a": 1}),
        lambda: guarded.set_tags(run_id, {"a": "b"}),
        lambda: guarded.log_artifact(run_id, "x"),
        lambda: guarded.update_run_status(run_id, "completed"),
    ):
        with pytest.raises(PermissionError, match="stale"):
            write()
    assert db.get_run(run_id).status == "running"


# Status


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        (["completed"], "running"),
        (["cancelled"], "running"),
        (["failed", "running", "completed"], "failed"),
        (["interrupted", "running", "interrupted", "failed"], "completed"),
        (["interrupted", "cancelled"], "interrupted"),
        (["failed"], "cancelled"),
    ],
)
def test_a_status_allows_what_may_follow(db, run_id, path, refused):
    for status in path:
        db.update_run_status(run_id, status)
        assert db.get_run(run_id).status == status
    with pytest.raises(RunConflictError, match=f"is {path[-1]} and can't become {refused}"):
        db.update_run_status(run_id, refused)


def test_the_first_end_counts_until_the_run_goes_on(db, run_id):
    db.update_run_status(run_id, "failed")
    ended = db.get_run(run_id)
    assert ended.duration_seconds == (ended.ended_at - ended.created_at).total_seconds() > 0
    db.update_run_status(run_id, "failed")
    assert db.get_run(run_id) == ended
    db.update_run_status(run_id, "running")
    assert db.get_run(run_id).ended_at is None


def test_an_unknown_status_offers_the_nearest(db, run_id):
    with pytest.raises(UnknownNameError, match="Did you mean: completed"):
        db.update_run_status(run_id, "complete")
    with pytest.raises(UnknownNameError, match="Did you mean: running"):
        db.list_runs(status="runing")


# Metrics


def test_what_is_not_finite_is_kept(db, run_id):
    given = [math.nan, math.inf, -math.inf, 0.1, np.float32(0.5)]
    for step, value in enumerate(given):
        db.log_metric(run_id, "loss", value, step=step)
    found = values(db, run_id)
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 0.1, 0.5]
    assert math.isnan(db.list_metric_points(run_id).items[0].value)


def test_every_form_of_a_batch_is_taken(db, run_id):
    db.log_metrics(
        run_id,
        [
            MetricPoint("a", 1.0, step=1, epoch=0, time=NOON),
            {"name": "a", "value": 2, "step": 2},
            MetricPoint("b", 3.0),
        ],
        epoch=5,
    )
    db.log_metrics(run_id, {"c": 4.0, "d": 5.0}, step=7)
    db.log_metrics(run_id, [])
    table = db.get_metrics(run_id)
    assert list(table) == ["name", "step", "epoch", "value", "time"]
    rows = table.astype(object).where(table.notna(), None).values.tolist()
    assert [row[:4] for row in rows] == [
        ["a", 1, 0, 1.0],
        ["a", 2, 5, 2.0],
        ["b", None, 5, 3.0],
        ["c", 7, None, 4.0],
        ["d", 7, None, 5.0],
    ]
    assert table["time"][0] == NOON
    assert values(db, run_id, "c") == [4.0]


def test_a_batch_that_is_sent_again_replaces_itself(db, run_id):
    batch = [MetricPoint("loss", n / 10, step=n, epoch=n // 4) for n in range(10)]
    batch += [MetricPoint("loss", 7.0, epoch=1), MetricPoint("final", 8.0, time=NOON)]
    for _ in range(3):
        db.log_metrics(run_id, batch)
    assert len(values(db, run_id)) == 12


def test_a_resumed_run_writes_over_what_it_does_again(db, run_id):
    db.log_metrics(run_id, [MetricPoint("loss", 1.0, step=n) for n in range(5)])
    db.log_metrics(run_id, [MetricPoint("loss", 2.0, step=n) for n in range(3, 7)])
    assert values(db, run_id) == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]


def test_values_without_step_and_epoch_stand_side_by_side(db, run_id):
    for value in (1.0, 2.0):
        db.log_metric(run_id, "loss", value)
    db.log_metrics(run_id, [MetricPoint("loss", 3.0), MetricPoint("loss", 4.0)])
    assert values(db, run_id) == [1.0, 2.0, 3.0, 4.0]
    assert db.get_run(run_id).metrics == {"loss": 4.0}


def test_of_two_points_at_one_place_the_later_counts(db, run_id):
    db.log_metrics(run_id, [MetricPoint("loss", 1.0, step=1), MetricPoint("loss", 2.0, step=1)])
    assert values(db, run_id) == [2.0]


def test_the_last_value_is_the_last_in_time(db, run_id):
    db.log_metric(run_id, "loss", 0.5, step=9, time=NOON)
    db.log_metric(run_id, "loss", 0.9, step=1, time=NOON - timedelta(hours=1))
    assert db.get_run(run_id).metrics == {"loss": 0.5}
    late = (NOON + timedelta(hours=3)).astimezone(None).replace(tzinfo=None)
    db.log_metrics(
        run_id,
        [
            MetricPoint("loss", 0.2, step=11, time=late),
            MetricPoint("loss", 0.3, step=10, time=late),
        ],
    )
    assert db.get_run(run_id).metrics == {"loss": 0.2}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"name": "", "value": 1}, "A metric's name is ''"),
        ({"name": "x", "value": "low"}, "The metric 'x' is 'low', allowed is a number"),
        ({"name": "x", "value": True}, "The metric 'x' is True"),
        ({"name": "x", "value": 1, "step": -1}, "step is -1, allowed is a whole number from 0"),
        ({"name": "x", "value": 1, "step": 2**63}, "step is"),
        ({"name": "x", "value": 1, "epoch": 2**31}, "epoch is"),
        ({"name": "x", "value": 1, "epoch": 0.5}, "epoch is 0.5"),
        ({"name": "x", "value": 1, "epoch": True}, "epoch is True"),
        ({"name": "x", "wert": 1}, "keys name, wert, allowed are name and value, and step"),
    ],
)
def test_a_wrong_point_is_named_and_its_batch_not_written(db, run_id, point, message):
    with pytest.raises(ValueError, match=message):
        db.log_metrics(run_id, [{"name": "x", "value": 1, "step": np.int64(1)}, point])
    assert values(db, run_id) == []


def test_points_come_in_pages(db, run_id):
    db.log_metrics(run_id, [MetricPoint("loss", float(n), step=n) for n in range(7)])
    db.log_metrics(run_id, [MetricPoint("acc", 0.5, epoch=0, time=NOON)])
    found, cursor = [], None
    while True:
        page = db.list_metric_points(run_id, limit=3, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found[0] == MetricPoint("acc", 0.5, None, 0, NOON)
    assert [point.step for point in found[1:]] == list(range(7))
    assert [p.value for p in db.list_metric_points(run_id, "acc").items] == [0.5]


def write_steps(location, run_id, has_half, go_on):
    with ExperimentDB(location) as db:
        for step in range(300):
            if step == 150:
                has_half.set()
                go_on.wait(timeout=60)
            db.log_metrics(run_id, {"loss": 1.0 / (step + 1), "rate": step}, step=step)
        db.update_run_status(run_id, "completed")


def test_a_live_run_can_be_read_while_it_is_written(db, run_id, database_url):
    context = multiprocessing.get_context("spawn")
    has_half, go_on = context.Event(), context.Event()
    writer = context.Process(target=write_steps, args=(database_url, run_id, has_half, go_on))
    writer.start()
    assert has_half.wait(timeout=60)
    lengths = [len(db.get_metrics(run_id))]
    go_on.set()
    while db.get_run(run_id).status == "running":
        table = db.get_metrics(run_id)
        steps = table.groupby("name")["step"].max()
        assert steps["loss"] == steps["rate"]  # a batch is seen whole or not at all
        assert len(table) == 2 * (steps["loss"] + 1)
        lengths.append(len(table))
    writer.join()
    assert writer.exitcode == 0
    assert lengths[0] == 300
    assert lengths == sorted(lengths)
    assert len(db.get_metrics(run_id)) == 600


def write_batches(location, run_id, names, barrier):
    with ExperimentDB(location) as db:
        for number in range(30):
            barrier.wait(timeout=60)
            db.log_metrics(
                run_id, [MetricPoint(name, number, step=s) for name in names for s in (2, 1)]
            )


def test_writers_of_the_same_points_do_not_block_each_other_for_good(db, run_id, database_url):
    names = [f"m{n}" for n in range(20)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    orders = (names, names[::-1], names[10:] + names[:10])
    writers = [
        context.Process(target=write_batches, args=(database_url, run_id, order, barrier))
        for order in orders
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert values(db, run_id) == [29.0] * 40


# Artifacts


def test_artifacts_carry_their_digest(db, run_id, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    artifact = db.log_artifact(run_id, path)
    assert (artifact.name, artifact.size_bytes) == ("model.pt", 7)
    assert artifact.digest == hashlib.sha256(b"weights").hexdigest()
    given = db.log_artifact(run_id, "s3://bucket/x", name="far", digest="ab" * 32, size_bytes=5)
    assert db.list_artifacts(run_id) == (given, artifact)
    path.write_bytes(b"more weights")
    again = db.log_artifact(run_id, path)
    assert db.list_artifacts(run_id) == (given, again)
    assert db.list_artifacts(db.log_run("b")) == ()


def test_an_artifact_that_is_elsewhere_has_no_digest(db, run_id):
    artifact = db.log_artifact(run_id, "elsewhere/model.pt")
    assert (artifact.digest, artifact.size_bytes) == (None, None)


# Search and comparison


def test_a_search_meets_every_condition(db):
    one = db.log_run("one", {"lr": 0.1, "layers": 2, "deep": {"x": True}}, notes="First_try 50%")
    two = db.log_run("two", {"lr": 0.2, "layers": 2.0}, tags={"team": "x"})
    three = db.log_run("three", {"lr": 0.1, "name": "null", "big": 1e300})
    db.log_metrics(one, {"loss": 0.5, "acc": 0.9}, epoch=1)
    db.log_metrics(two, {"loss": 0.4}, epoch=1)
    db.log_metrics(three, {"loss": math.nan, "acc": math.inf}, epoch=1)
    db.update_run_status(two, "completed")
    expected = [
        ({"name": "one"}, [one]),
        ({"status": "running"}, [three, one]),
        ({"text": "FIRST_"}, [one]),
        ({"text": "50%"}, [one]),
        ({"text": "F%t"}, []),
        ({"params": {"lr": 0.1}}, [three, one]),
        ({"params": {"layers": 2}}, [two, one]),
        ({"params": {"layers": 2.0, "lr": 0.2}}, [two]),
        ({"params": {"deep.x": True}}, [one]),
        ({"params": {"deep.x": 1}}, []),
        ({"params": {"name": "null"}}, [three]),
        ({"params": {"name": None}}, []),
        ({"tags": {"team": "x"}}, [two]),
        ({"metrics": {"loss": (None, 0.45)}}, [two]),
        ({"metrics": {"loss": (0.4, None)}}, [two, one]),
        ({"metrics": {"loss": (None, None), "acc": (0, 1)}}, [one]),
        ({"metrics": {"acc": (1, None)}}, [three]),
    ]
    for conditions, found in expected:
        assert ids(db.list_runs(**conditions)) == found, conditions


def test_runs_come_in_pages(db):
    every = [db.log_run(str(n)) for n in range(5)]
    first = db.list_runs(limit=2)
    db.log_run("new")
    second = db.list_runs(limit=2, cursor=first.next_cursor)
    third = db.list_runs(limit=2, cursor=second.next_cursor)
    assert ids(first) + ids(second) + ids(third) == every[::-1]
    assert third.next_cursor is None
    with pytest.raises(ValueError, match="limit is 0"):
        db.list_runs(limit=0)


@pytest.mark.parametrize("descending", [False, True])
def test_runs_can_be_ordered_by_a_metric_over_pages(db, descending):
    every = [db.log_run(str(n)) for n in range(6)]
    for run_id, value in zip(every, [0.3, 0.1, math.nan, 0.3, math.inf], strict=False):
        db.log_metric(run_id, "loss", value)
    first = db.list_runs(order_by_metric="loss", descending=descending, limit=2)
    rest = db.list_runs(
        order_by_metric="loss", descending=descending, limit=9, cursor=first.next_cursor
    )
    ascending = [every[1], every[0], every[3], every[4]]
    assert ids(first) + ids(rest) == (ascending[::-1] if descending else ascending)


def test_a_comparison_shows_what_differs(db):
    one = db.log_run("one", {"lr": 0.1, "layers": 2})
    two = db.log_run("two", {"lr": 0.2, "layers": 2, "extra": "x"})
    db.log_metrics(one, [MetricPoint("loss", v, step=s) for s, v in enumerate([3, 1, math.nan, 2])])
    db.log_metrics(two, {"status": 5.0})
    table = db.compare_runs([two, one])
    assert table["run_id"].tolist() == [two, one]
    assert table["loss"].tolist()[1] == 2.0
    assert table["metrics.status"].tolist()[0] == 5.0
    assert table["status"].tolist() == ["running", "running"]
    assert table["params.lr"].tolist() == [0.2, 0.1]
    assert table["params.extra"][0] == "x"
    assert "params.layers" not in table
    assert db.compare_runs([one], summary="min")["loss"].tolist() == [1.0]
    assert db.compare_runs([one], summary="max")["loss"].tolist() == [3.0]
    assert db.compare_runs([]).empty
    with pytest.raises(UnknownNameError, match="Unknown summary 'mean'"):
        db.compare_runs([one], summary="mean")
