"""Runs of experiments: configuration, metrics, artifacts and status, on SQLite or Postgres."""

from typing import TYPE_CHECKING

from utils.training.experiment_db.errors import RunConflictError, UnknownRunError
from utils.training.experiment_db.records import Artifact, MetricPoint, Run
from utils.training.lazy import lazily

if TYPE_CHECKING:
    from utils.training.experiment_db.experiments import ExperimentDB

__all__ = [
    "Artifact",
    "ExperimentDB",
    "MetricPoint",
    "Run",
    "RunConflictError",
    "UnknownRunError",
]

__getattr__ = lazily(__name__, {"ExperimentDB": "experiments"})
