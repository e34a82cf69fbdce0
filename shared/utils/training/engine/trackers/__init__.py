"""Where metrics go: one file for each tracking system, and what keeps them from doing harm."""

from utils.training.engine.trackers.background import BackgroundTracker
from utils.training.engine.trackers.experiment_db import ExperimentDBTracker
from utils.training.engine.trackers.factory import trackers_from_config
from utils.training.engine.trackers.group import TrackerGroup
from utils.training.engine.trackers.mlflow import MlflowTracker
from utils.training.engine.trackers.protocol import NullTracker, Tracker
from utils.training.engine.trackers.tensorboard import TensorBoardTracker
from utils.training.engine.trackers.wandb import WandbTracker

__all__ = [
    "BackgroundTracker",
    "ExperimentDBTracker",
    "MlflowTracker",
    "NullTracker",
    "TensorBoardTracker",
    "Tracker",
    "TrackerGroup",
    "WandbTracker",
    "trackers_from_config",
]
