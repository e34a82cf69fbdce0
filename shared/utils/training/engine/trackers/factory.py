"""From a training configuration to the trackers that it switches on."""

from __future__ import annotations

from typing import Any

from utils.training.engine.trackers.experiment_db import ExperimentDBTracker
from utils.training.engine.trackers.mlflow import MlflowTracker
from utils.training.engine.trackers.protocol import Tracker
from utils.training.engine.trackers.tensorboard import TensorBoardTracker
from utils.training.engine.trackers.wandb import WandbTracker
from utils.training.training_config import TrainingConfig


def trackers_from_config(
    config: TrainingConfig, experiment_db: Any | None = None, run_id: int | None = None
) -> list[Tracker]:
    """The trackers that a configuration names, and the database's where one is given with a run.

    Nothing is opened yet: each opens with its first value.
    """
    trackers: list[Tracker] = []
    if config.use_wandb:
        trackers.append(WandbTracker(config.wandb_project, config.run_name, config.to_dict()))
    if config.use_tensorboard:
        trackers.append(TensorBoardTracker(config.tensorboard_dir, config.run_name))
    if config.use_mlflow:
        trackers.append(
            MlflowTracker(
                config.mlflow_tracking_uri,
                config.mlflow_experiment,
                config.run_name,
                config.to_dict(),
            )
        )
    if experiment_db is not None and run_id is not None:
        trackers.append(ExperimentDBTracker(experiment_db, run_id))
    return trackers
