"""A training run: its parts, its position, how it is resumed, and what it leaves behind."""

from utils.training.engine.run.assembly import create_run, num_batches
from utils.training.engine.run.results import results_of
from utils.training.engine.run.resume import resume
from utils.training.engine.run.run import Run, of_phase
from utils.training.engine.run.state import TrainerState

__all__ = ["Run", "TrainerState", "create_run", "num_batches", "of_phase", "results_of", "resume"]
