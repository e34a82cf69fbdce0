"""The loops of a rank: gradients meet once a window, and what stands in for a batch counts not."""

from __future__ import annotations

from typing import Any

from torch import nn

from utils.training.engine.distributed.accumulator import RankAccumulator
from utils.training.engine.distributed.data import Ghost
from utils.training.engine.distributed.models import BufferCopies, RankModel
from utils.training.engine.distributed.world import World
from utils.training.engine.epoch_sums import EpochSums
from utils.training.engine.forward import ForwardPass
from utils.training.engine.loop import TrainingLoop, ValidationLoop
from utils.training.engine.loss import LossStrategy, LossTerms, loss_terms
from utils.training.engine.metrics.confidence import ConfidenceAccumulator, ConfidenceMetrics


class RankTrainingLoop(TrainingLoop):
    """Trains one rank's part of each batch.

    Args:
        parallel: the model over ranks.
        accumulator: over the same ranks.
        settings: those of :class:`TrainingLoop`, without model and accumulator.
    """

    def __init__(self, parallel: RankModel, accumulator: RankAccumulator, **settings: Any) -> None:
        super().__init__(parallel.model, gradient_accumulator=accumulator, **settings)
        self._parallel = parallel
        self._ranks = accumulator
        self._forward = ForwardPass(parallel.forward, self.task_spec)
        self._buffers = BufferCopies(parallel.model)

    def _train_batch(
        self, given: Any, sums: EpochSums, *, is_final: bool
    ) -> tuple[LossTerms, bool]:
        self._parallel.synchronise(self._ranks.announce(is_final_batch=is_final))
        is_ghost = isinstance(given, Ghost)
        batch = self._move(given.batch if isinstance(given, Ghost) else given)
        with self.precision.autocast:
            inputs = self._forward(batch)
            terms = loss_terms(self.loss_strategy, inputs)
        if is_ghost:
            terms = LossTerms(terms.total * 0, terms.num_items * 0)
        is_step = self.accumulator.accumulate(
            terms.total,
            self.model,
            is_final_batch=is_final,
            num_items=terms.num_items,
            is_total=True,
        )
        if not is_ghost:
            sums.add(terms, len(inputs["logits"]))
        if is_step:
            self._buffers.update()
        return terms, is_step


class RankValidationLoop(ValidationLoop):
    """Measures one rank's part of the held-out data; the confidence is that of all ranks.

    Args:
        world: the ranks.
        model: as the user gave it: nothing but sharded weights is sent on the way.
        loss_strategy: the same as in training.
        settings: those of :class:`ValidationLoop`.
    """

    def __init__(
        self, world: World, model: nn.Module, loss_strategy: LossStrategy, **settings: Any
    ) -> None:
        super().__init__(model, loss_strategy, **settings)
        self._world = world

    def _measure(
        self, given: Any, index: int, sums: EpochSums, confidence: ConfidenceAccumulator
    ) -> None:
        if not isinstance(given, Ghost):
            super()._measure(given, index, sums, confidence)
            return
        with self.precision.autocast:
            self._forward(self._move(given.batch))  # sharded weights are gathered by all ranks

    def _confidence_of(self, measured: ConfidenceAccumulator) -> ConfidenceMetrics:
        measured.take_in(self._world.gather(measured.state()))
        return measured.compute()
