"""The dashboard's published calls, on a run's own summary."""

from __future__ import annotations

import numpy as np

from utils.training.dashboard import Dashboard
from utils.training.drift_metrics import profile_dataset
from utils.training.engine import MetricsEngine
from utils.training.experiment_db import ExperimentDB
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

SPEC = TaskSpec(name="rooms", modality="tabular", feature_names=("heat", "noise"))


def rooms(shift, seed):
    values = np.random.default_rng(seed).normal([shift, 0.0], 1.0, size=(300, 2))
    return [{"heat": heat, "noise": noise} for heat, noise in values.tolist()]


def test_a_runs_pictures():
    engine = MetricsEngine(use_wandb=False)
    reference = profile_dataset(rooms(0.0, 0), SPEC)
    drift_data = [
        engine.log_epoch(
            epoch=epoch,
            train_metrics={"loss": 1.0 / (epoch + 1), "accuracy": 0.5 + 0.1 * epoch},
            val_metrics={"loss": 1.1 / (epoch + 1), "accuracy": 0.5 + 0.08 * epoch},
            learning_rate=1e-3,
            gradient_norm=0.5,
            epoch_duration=2.0,
            reference_profile=reference,
            current_profile=profile_dataset(rooms(0.5 * epoch, epoch + 1), SPEC),
        )
        for epoch in range(4)
    ]
    metrics_df = engine.get_summary()
    config = TrainingConfig(epochs=4)

    dashboard = Dashboard()

    figure = dashboard.plot(metrics_df, config, title="Rooms")
    assert len(figure.axes) == 6
    assert figure.get_suptitle() == "Rooms"

    figure = dashboard.plot_with_drift(
        metrics_df=metrics_df,
        drift_data=drift_data,
        config=config,
        title="Rooms and their drift",
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len([title for title in titles if title]) == 10

    for name in ("rooms.png", "rooms.svg", "rooms.html"):
        assert dashboard.save(name).stat().st_size > 10_000


def test_a_picture_from_the_experiments_database():
    database = ExperimentDB("experiments.db")
    config = TrainingConfig(epochs=3, learning_rate=0.5)
    run_id = database.log_run("rooms", config.to_dict(), notes="three epochs")
    engine = MetricsEngine(use_wandb=False, experiment_db=database, run_id=run_id)
    for epoch in range(3):
        for step in range(5):
            engine.log_scalar("train/loss", 9.0, step=5 * epoch + step)
        engine.log_epoch(epoch, {"loss": 1.0 - 0.1 * epoch}, {"loss": [0.9, 0.7, 0.8][epoch]})
    engine.close()

    figure = Dashboard().plot(
        database.get_metrics(run_id), database.get_run(run_id).config, title="From the database"
    )
    loss = figure.axes[0]
    assert loss.lines[0].get_ydata().tolist() == [1.0, 0.9, 0.8]
    assert "best: epoch 1 (0.7)" in [text.get_text() for text in loss.get_legend().get_texts()]
