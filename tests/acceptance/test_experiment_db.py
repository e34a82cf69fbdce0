"""The experiments' published calls, on a file as the documentation shows them."""

from __future__ import annotations

import pytest

from utils.training.experiment_db import ExperimentDB
from utils.training.training_config import TrainingConfig


@pytest.fixture
def db():
    with ExperimentDB("experiments.db") as db:
        yield db


def test_a_run_from_its_start_to_its_end(db):
    config = TrainingConfig(learning_rate=3e-4)
    run_id = db.log_run("digits-cnn", config.to_dict(), notes="First of three")
    assert isinstance(run_id, int)
    db.log_metric(run_id, "train/loss", 0.61, epoch=2)
    db.log_metric(run_id, "val/loss", 0.47, epoch=2)
    db.update_run_status(run_id, "completed")
    run = db.get_run(run_id)
    assert (run.name, run.status, run.notes) == ("digits-cnn", "completed", "First of three")
    assert run.config == config.to_dict()
    assert run.metrics == {"train/loss": 0.61, "val/loss": 0.47}


def test_a_comparison_names_ids_that_have_no_run_yet(db, caplog):
    run_id = db.log_run("alone", {"epochs": 3}, notes="The only one")
    db.log_metric(run_id, "val/loss", 0.4, epoch=2)
    comparison = db.compare_runs([1, 2, 3])
    assert comparison["run_id"].tolist() == [run_id]
    assert comparison["val/loss"].tolist() == [0.4]
    assert "There is no run 2, 3" in caplog.text


def test_compare_runs(db):
    ids = []
    for rate in (1e-4, 1e-3, 1e-2):
        ids.append(db.log_run(f"rate {rate}", TrainingConfig(learning_rate=rate).to_dict()))
        db.log_metric(ids[-1], "val/loss", rate * 10, epoch=0)
    comparison = db.compare_runs(ids)
    assert comparison["run_id"].tolist() == ids
    assert comparison["val/loss"].tolist() == pytest.approx([1e-3, 1e-2, 1e-1])
    assert comparison["params.learning_rate"].tolist() == [1e-4, 1e-3, 1e-2]
    assert [name for name in comparison if name.startswith("params.")] == ["params.learning_rate"]
