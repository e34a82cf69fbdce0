"""Training over several processes: data, gradients, metrics, checkpoints and errors of ranks."""

from utils.training.engine.distributed.failure import RankFailedError, RankLostError
from utils.training.engine.distributed.world import Alone, Ranks, World, join_world

__all__ = ["Alone", "RankFailedError", "RankLostError", "Ranks", "World", "join_world"]
