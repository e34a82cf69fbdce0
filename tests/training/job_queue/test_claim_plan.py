"""A claim reads the head of its own index, whatever the planner's statistics say."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from sqlalchemy import text

from utils.training.database import open_database
from utils.training.database.prepared import Prepared
from utils.training.job_queue import JobManager


@pytest.fixture(params=["before", "after"])
def manager_with_queue(request, database_url):
    """Two types in a queue; statistics of an empty table, or of a full one."""
    engine = open_database(database_url)
    manager = JobManager(engine)
    if request.param == "before":
        _analyze(engine)
    for number in range(300):
        manager.submit_job("training" if number % 30 else "export", {}, number % 5)
    if request.param == "after":
        _analyze(engine)
    return manager


def _analyze(engine):
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))


@pytest.fixture
def plan_of(monkeypatch):
    """How the database would execute the claim that a call has made."""
    explained = []

    def rows_and_plan(prepared, connection, parameters):
        plan = prepared._plan(connection.dialect)
        word = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        given = plan.driver_parameters(parameters)
        found = connection.connection.cursor().execute(f"{word} {plan.sql}", given)
        explained.extend(" ".join(map(str, row)) for row in found.fetchall())
        return rows(prepared, connection, parameters)

    def explain(call):
        assert call() is not None
        return "\n".join(explained)

    rows = Prepared.rows
    monkeypatch.setattr(Prepared, "rows", rows_and_plan)
    return explain


def test_a_claim_sorts_nothing(manager_with_queue, plan_of):
    plan = plan_of(lambda: manager_with_queue.claim_job("w"))
    assert "ix_job_claim" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def test_a_claim_of_one_type_reads_over_no_other(manager_with_queue, plan_of):
    plan = plan_of(lambda: manager_with_queue.claim_job("w", "export"))
    assert "ix_job_claim_of_type" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def test_jobs_for_later_and_long_histories_leave_the_order_as_it_is(manager, clock):
    random.seed(5)
    due = []
    for number in range(200):
        later = number % 2 == 0
        run_after = clock.now + timedelta(hours=1) if later else None
        priority = random.randrange(-3, 4)
        job_id = manager.submit_job("training", {}, priority, run_after=run_after)
        if not later:
            due.append((-priority, job_id))
    claimed = [manager.claim_job("w").job_id for _ in due]
    assert claimed == [job_id for _, job_id in sorted(due)]
    assert manager.claim_job("w") is None
