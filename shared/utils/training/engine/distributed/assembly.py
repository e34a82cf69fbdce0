"""The parts of a run that are others over ranks: model, accumulator, loops, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from utils.training.engine.checkpoint import CheckpointManager
from utils.training.engine.distributed.accumulator import RankAccumulator
from utils.training.engine.distributed.blueprint import blueprint_of
from utils.training.engine.distributed.checkpoints import FirstRankCheckpoints
from utils.training.engine.distributed.loops import RankTrainingLoop, RankValidationLoop
from utils.training.engine.distributed.models import RankModel, Replicas, Shards
from utils.training.engine.distributed.sharded_checkpoints import ShardedCheckpoints
from utils.training.engine.distributed.world import Ranks
from utils.training.engine.interrupt import StopSwitch
from utils.training.errors import InvalidConfigError
from utils.training.training_config import TrainingConfig


@dataclass(frozen=True)
class RankParts:
    """Builds a run's parts for the ranks of a world.

    Args:
        world: the ranks.
        parallel: the model over them.
        stop: hears of a rank's wish to stop.
        blueprint: of the whole model, where the first rank is to export one that is sharded.
    """

    world: Ranks
    parallel: RankModel
    stop: StopSwitch
    blueprint: nn.Module | None = None

    def accumulator(self, **settings: Any) -> RankAccumulator:
        """Build what turns the ranks' micro-batches into optimizer steps."""
        return RankAccumulator(
            stop=self.stop,
            is_sharded=self.world.strategy == "fsdp",
            world_size=self.world.size,
            **settings,
        )

    def training_loop(self, accumulator: RankAccumulator, **settings: Any) -> RankTrainingLoop:
        """Build the loop over this rank's batches."""
        return RankTrainingLoop(self.parallel, accumulator, **settings)

    def validation_loop(self, loss_strategy: Any, **settings: Any) -> RankValidationLoop:
        """Build the loop over this rank's held-out batches."""
        return RankValidationLoop(self.world, self.parallel.model, loss_strategy, **settings)

    def checkpoints(self, optimizer: Optimizer, **settings: Any) -> CheckpointManager:
        """Build what saves: the first rank, or each its shards."""
        if self.world.strategy == "fsdp":
            return ShardedCheckpoints(self.world, self.parallel.model, optimizer, **settings)
        return FirstRankCheckpoints(self.world, **settings)


def spread(
    model: nn.Module,
    world: Ranks,
    device: torch.device,
    config: TrainingConfig,
    stop: StopSwitch,
) -> RankParts:
    """Spread a model over the ranks; all begin with the first one's weights.

    Raises:
        InvalidConfigError: a ValueError; a setting does not go with the strategy.
    """
    stop.needs_agreement = True
    if world.strategy == "ddp":
        return RankParts(world, Replicas(model, device), stop)
    if config.optimizer == "adafactor":
        raise InvalidConfigError(
            [
                (
                    "optimizer is 'adafactor' with strategy 'fsdp', allowed are 'adamw' and 'sgd': "
                    "its factors span the rows that the ranks share out."
                )
            ]
        )
    wants_whole = world.is_first and config.export_bundle
    blueprint = blueprint_of(model) if wants_whole else None
    shards = Shards(model, device, world.size, config.mixed_precision)
    return RankParts(world, shards, stop, blueprint)
