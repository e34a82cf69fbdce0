"""Training over several processes: data, gradients, metrics, checkpoints and errors of ranks."""

from utils.training.engine.distributed.failure import RankFailedError
from utils.training.engine.distributed.world import Alone, Ranks, World, join_world

__all__ = ["Alone", "RankFailedError", "Ranks", "World", "join_world"]
