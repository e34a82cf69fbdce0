"""Runs of experiments: configuration, metrics, artifacts and status, on SQLite or Postgres."""

from utils.training.experiment_db.errors import RunConflictError, UnknownRunError
from utils.training.experiment_db.experiments import ExperimentDB
from utils.training.experiment_db.records import Artifact, MetricPoint, Run

__all__ = [
    "Artifact",
    "ExperimentDB",
    "MetricPoint",
    "Run",
    "RunConflictError",
    "UnknownRunError",
]
