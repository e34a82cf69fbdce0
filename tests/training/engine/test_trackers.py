"""Trackers, against the real libraries where they are installed."""

from __future__ import annotations

import math
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils.training.engine.trackers import (
    BackgroundTracker,
    ExperimentDBTracker,
    MlflowTracker,
    NullTracker,
    TensorBoardTracker,
    TrackerGroup,
    WandbTracker,
    trackers_from_config,
)
from utils.training.engine.trackers import experiment_db as experiment_db_module
from utils.training.experiment_db import ExperimentDB
from utils.training.training_config import TrainingConfig


class Recorder:
    """Keeps every call."""

    def __init__(self):
        self.calls = []
        self.is_closed = False

    def log(self, metrics, step=None, epoch=None):
        self.calls.append((dict(metrics), step, epoch))

    def log_histogram(self, name, values, step=None):
        self.calls.append((name, values.tolist(), step))

    def close(self):
        self.is_closed = True


class Broken:
    """Raises in every call."""

    def __init__(self, error=None):
        self.error = error or OSError("disk full")
        self.num_calls = 0

    def log(self, *arguments, **options):
        self.num_calls += 1
        raise self.error

    log_histogram = close = log


def test_the_group_goes_on_without_a_tracker_that_fails(caplog):
    broken, recorder = Broken(), Recorder()
    group = TrackerGroup([broken, recorder])
    for step in range(3):
        group.log({"loss": 1.0}, step=step)
    group.log_histogram("g", np.ones(2), step=3)
    group.close()
    assert broken.num_calls == 1
    assert len(recorder.calls) == 4
    assert recorder.is_closed
    assert [record.getMessage() for record in caplog.records] == [
        "Broken is switched off, training goes on without it: disk full"
    ]


def test_nothing_is_logged_after_close():
    recorder = Recorder()
    group = TrackerGroup([recorder])
    group.close()
    group.log({"loss": 1.0}, step=0)
    assert recorder.calls == []
    assert group.active == ()


def test_an_error_without_words_is_named_by_its_type(caplog):
    group = TrackerGroup([Broken(KeyError())])
    group.log({}, step=0)
    assert caplog.text.rstrip().endswith("KeyError")


def test_the_null_tracker_takes_everything():
    group = TrackerGroup([NullTracker()])
    group.log({"loss": 1.0}, step=0)
    group.log_histogram("g", np.ones(2), step=0)
    assert len(group.active) == 1
    group.close()


def test_the_background_tracker_hands_on_copies_from_another_thread():
    recorder, threads = Recorder(), []

    def make():
        threads.append(threading.current_thread())
        return recorder

    tracker = BackgroundTracker("slow service", make)
    metrics, values = {"loss": 1.0}, np.ones(2)
    tracker.log(metrics, step=1)
    tracker.log_histogram("g", values, step=1)
    metrics["loss"], values[:] = 2.0, 5.0
    tracker.close()
    assert recorder.calls == [({"loss": 1.0}, 1, None), ("g", [1.0, 1.0], 1)]
    assert recorder.is_closed
    assert threads != [threading.current_thread()]


def test_a_background_tracker_never_waits_for_its_service(caplog):
    gate = threading.Event()

    def make():
        gate.wait()
        return Recorder()

    tracker = BackgroundTracker("slow service", make, close_timeout_seconds=0.05)
    for step in range(100):
        tracker.log({"loss": 1.0}, step=step)
    tracker.close()
    gate.set()
    assert "slow service did not take everything within 0 seconds" in caplog.text


@pytest.mark.parametrize("error", [OSError("no network"), SystemExit(1), KeyboardInterrupt()])
def test_a_background_tracker_that_fails_warns_once(error, caplog):
    broken = Broken(error)
    tracker = BackgroundTracker("service", lambda: broken)
    for step in range(5):
        tracker.log({"loss": 1.0}, step=step)
    tracker.close()
    assert broken.num_calls == 1
    assert len(caplog.records) == 1


def test_an_unused_background_tracker_opens_nothing():
    tracker = BackgroundTracker("service", lambda: pytest.fail("it was opened"))
    tracker.close()


def read_events(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    return events.Reload()


def test_tensorboard_files_hold_steps_and_epochs(tmp_path):
    tracker = TensorBoardTracker(tmp_path, "first")
    for step in (10, 20):
        tracker.log({"train/loss": 1.0 / step, "train/accuracy": math.nan}, step=step)
    tracker.log({"train/loss": 0.25, "learning_rate": 1e-3}, epoch=3)
    tracker.log_histogram("gradients/distribution", np.linspace(0, 1, 50), step=10)
    tracker.close()
    events = read_events(tmp_path / "first")
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [
        (10, pytest.approx(0.1)),
        (20, pytest.approx(0.05)),
    ]
    assert math.isnan(events.Scalars("train/accuracy")[0].value)
    assert [(e.step, e.value) for e in events.Scalars("epoch/train_loss")] == [(3, 0.25)]
    assert "epoch/learning_rate" in events.Tags()["scalars"]
    assert events.Histograms("gradients/distribution")[0].histogram_value.num == 50


def test_tensorboard_runs_without_a_name_get_a_folder_of_their_own(tmp_path):
    tracker = TensorBoardTracker(tmp_path)
    assert list(tmp_path.iterdir()) == []
    tracker.log({"loss": 1.0}, step=0)
    tracker.close()
    assert len(list(tmp_path.glob("*/events*"))) == 1


def test_tensorboard_unused_writes_nothing(tmp_path):
    TensorBoardTracker(tmp_path, "unused").close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    TrackerGroup([TensorBoardTracker(tmp_path)]).log({"loss": 1.0}, step=0)
    assert "pip install 'training-engine[tracking]'" in caplog.text


@pytest.fixture
def mlflow_uri(tmp_path):
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_keeps_parameters_steps_and_epochs(mlflow_uri):
    tracker = MlflowTracker(mlflow_uri, "digits", "first", {"batch_size": 4, "notes": "x" * 9000})
    tracker.log({"train/loss": 0.5, "val/f1 (macro)": 0.25}, step=10)
    tracker.log({"train/loss": 0.25, "val/loss": math.nan}, epoch=2)
    tracker.log_histogram("g", np.ones(2), step=10)
    tracker.close()

    from mlflow import MlflowClient

    client = MlflowClient(mlflow_uri)
    experiment = client.get_experiment_by_name("digits")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "4"
    assert run.data.metrics["train/loss"] == 0.5
    assert run.data.metrics["val/f1 _macro_"] == 0.25
    (point,) = client.get_metric_history(run.info.run_id, "epoch/train_loss")
    assert (point.step, point.value) == (2, 0.25)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_runs_share_an_experiment(mlflow_uri):
    for name in ("first", "second"):
        tracker = MlflowTracker(mlflow_uri, "digits", name)
        tracker.log({"loss": 1.0}, step=0)
        tracker.close()

    from mlflow import MlflowClient

    client = MlflowClient(mlflow_uri)
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {"first", "second"}


def test_mlflow_that_is_not_installed_is_one_sentence(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    tracker = MlflowTracker("sqlite:///x.db")
    tracker.log({"loss": 1.0}, step=0)
    tracker.close()
    assert "pip install 'training-engine[mlflow]'" in caplog.text


class FakeWandb:
    """The calls of W&B that are used, kept in a list; ``failing`` ones raise."""

    def __init__(self, failing=()):
        self.calls = []
        self.failing = failing
        self.url, self.dir = None, "offline-run"

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            if name in self.failing:
                raise RuntimeError(f"{name} failed")
            return self

        return call

    def named(self, name):
        return [(arguments, options) for called, arguments, options in self.calls if called == name]


@pytest.fixture
def fake_wandb(monkeypatch):
    def install(**options):
        fake = FakeWandb(**options)
        monkeypatch.setitem(sys.modules, "wandb", fake)
        return fake

    return install


def test_wandb_gets_steps_and_epochs_on_axes_of_their_own(fake_wandb):
    fake = fake_wandb()
    tracker = WandbTracker("digits", "first", {"batch_size": 4})
    tracker.log({"train/loss": 0.5}, step=10)
    tracker.log({"val/loss": 0.25}, epoch=2)
    tracker.log_histogram("g", np.array([0.0, 1.0, np.nan]), step=10)
    tracker.close()
    ((_, init),) = fake.named("init")
    assert (init["project"], init["name"], init["config"]) == ("digits", "first", {"batch_size": 4})
    assert [arguments[0] for arguments, _ in fake.named("log")] == [
        {"train/loss": 0.5, "global_step": 10},
        {"epoch/val_loss": 0.25, "epoch": 2},
        {"g": fake, "global_step": 10},
    ]
    counts, _ = fake.named("Histogram")[0][1]["np_histogram"]
    assert counts.sum() == 2
    assert len(fake.named("finish")) == 1
    assert (("epoch/*",), {"step_metric": "epoch"}) in fake.named("define_metric")


def test_wandb_never_asks_for_a_key(fake_wandb):
    fake = fake_wandb()
    tracker = WandbTracker()
    tracker.log({"loss": 1.0}, step=0)
    tracker.close()
    names = [name for name, _, _ in fake.calls]
    assert names.index("setup") < names.index("init")
    assert all(options["silent"] for _, options in fake.named("Settings"))


@pytest.mark.parametrize("failing", ["setup", "Settings", "init", "define_metric", "log", "finish"])
def test_wandb_failing_anywhere_is_one_warning(fake_wandb, failing, caplog):
    fake_wandb(failing=(failing,))
    tracker = WandbTracker()
    for step in range(3):
        tracker.log({"loss": 1.0}, step=step)
    tracker.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"Weights & Biases is switched off, training goes on without it: {failing} failed"
    ]


def test_wandb_that_is_not_installed_is_one_warning(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = WandbTracker()
    tracker.log({"loss": 1.0}, step=0)
    tracker.log({"loss": 1.0}, step=1)
    tracker.close()
    assert len(caplog.records) == 1
    assert "pip install 'training-engine[wandb]'" in caplog.text


def test_a_config_names_its_trackers(tmp_path):
    config = TrainingConfig(
        use_wandb=True, use_tensorboard=True, use_mlflow=True, tensorboard_dir=str(tmp_path)
    )
    database = SimpleNamespace(log_metrics=print)
    assert [type(tracker) for tracker in trackers_from_config(config, database, 1)] == [
        WandbTracker,
        TensorBoardTracker,
        MlflowTracker,
        ExperimentDBTracker,
    ]
    assert trackers_from_config(TrainingConfig()) == []


def test_the_database_gets_values_in_batches_and_every_epoch_at_once(tmp_path):
    database = ExperimentDB(tmp_path / "experiments.db")
    run_id = database.log_run("first", {"batch_size": 4})
    tracker = ExperimentDBTracker(database, run_id)
    for step in range(199):
        tracker.log({"train/loss": 1.0 / (step + 1)}, step=step)
    assert len(database.get_metrics(run_id)) == 0
    tracker.log({"train/loss": 0.0}, step=199)
    assert len(database.get_metrics(run_id)) == 200
    tracker.log({"train/loss": math.nan}, step=200)
    tracker.log_histogram("g", np.ones(2), step=200)
    tracker.log({"val/loss": 0.25}, epoch=0)
    points = database.get_metrics(run_id)
    assert len(points) == 202
    (validation,) = points[points["name"] == "val/loss"].to_dict("records")
    assert (validation["epoch"], validation["value"]) == (0, 0.25)
    tracker.log({"train/loss": 0.5}, step=201)
    tracker.close()
    assert len(database.get_metrics(run_id)) == 203


def test_the_database_is_written_to_now_and_then_however_few_values_there_are(monkeypatch):
    batches = []
    database = SimpleNamespace(log_metrics=lambda run_id, points: batches.append(len(points)))
    monkeypatch.setattr(experiment_db_module, "_FLUSH_SECONDS", 0.0)
    tracker = ExperimentDBTracker(database, 1)
    tracker.log({"train/loss": 1.0}, step=0)
    tracker.log({"train/loss": 1.0}, step=1)
    tracker.close()
    assert batches == [1, 1]
