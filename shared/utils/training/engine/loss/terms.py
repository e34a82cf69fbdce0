"""A loss with what it takes to add it up right: its denominator, and what was predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as PyTorch's own documentation writes it

from utils.training.engine.loss.accuracy import count_correct, count_targets
from utils.training.engine.loss.inputs import IGNORED, LossError, LossInputs

_HALF_DTYPES = {torch.float16, torch.bfloat16}
_ALMOST_NOTHING = 1e-12  # its inverse is finite, and times a gradient of 0 still 0
_SUM = 2  # ATen's number of the reduction


class LossStrategy(Protocol):
    """How a task's loss is computed.

    A strategy may offer ``compute_terms(inputs) -> LossTerms`` too, so that accumulation weighs
    its batches by what counts in them, and not by their number of samples.
    """

    def compute_loss(self, inputs: LossInputs) -> Tensor:
        """Return the mean loss, a scalar with a graph."""


@dataclass(frozen=True)
class LossTerms:
    """A batch's summed loss and what belongs to it; nothing here waits for the device.

    ``total`` is the sum, a scalar with its graph, and ``num_items`` the mean's denominator: the
    tokens or samples that count, or the sum of their class weights. Both add up over batches.
    ``logits`` (detached) and ``targets``, aligned as :func:`count_correct` takes them, are what
    accuracy is counted from; both are None for a task that has none.
    """

    total: Tensor
    num_items: Tensor
    logits: Tensor | None = None
    targets: Tensor | None = None

    @property
    def loss(self) -> Tensor:
        """The mean, a scalar with a graph; 0 where nothing counts."""
        return mean_of(self.total, self.num_items)

    @property
    def num_correct(self) -> Tensor:
        """How many predictions were right, a scalar."""
        if self.logits is None or self.targets is None:
            return self._nothing()
        return count_correct(self.logits, self.targets)

    @property
    def num_predictions(self) -> Tensor:
        """How many predictions there were to be right, a scalar."""
        return self._nothing() if self.targets is None else count_targets(self.targets)

    def _nothing(self) -> Tensor:
        return torch.zeros((), dtype=torch.int64, device=self.total.device)


def mean_of(total: Tensor, num_items: Tensor | float) -> Tensor:
    """Divide a sum by its denominator; 0 where nothing counts."""
    if not isinstance(num_items, Tensor):
        return total / max(num_items, _ALMOST_NOTHING)
    return total / num_items.clamp(min=_ALMOST_NOTHING)


def loss_terms(strategy: LossStrategy, inputs: LossInputs) -> LossTerms:
    """Compute the terms of any strategy, whether or not it offers them.

    One that only has ``compute_loss`` weighs a batch by its samples, and is measured for accuracy
    where [batch, classes] meets [batch], or [batch, classes, height, width] a label a pixel.

    Raises:
        LossError: a ValueError; the strategy returned something else than a scalar.
    """
    compute_terms = getattr(strategy, "compute_terms", None)
    if compute_terms is not None:
        terms: LossTerms = compute_terms(inputs)
        return terms
    loss = strategy.compute_loss(inputs)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise LossError(
            f"{type(strategy).__name__}.compute_loss returned {what}; return the mean as a scalar "
            "tensor."
        )
    samples = torch.full((), _num_samples(inputs), device=loss.device)
    return LossTerms(loss * samples, samples, *_predictions_in(inputs))


def _num_samples(inputs: LossInputs) -> int:
    tensors = (value for value in inputs.values() if isinstance(value, Tensor) and value.ndim)
    first = next(tensors, None)
    return 1 if first is None else len(first)


def _predictions_in(inputs: LossInputs) -> tuple[Tensor, Tensor] | tuple[None, None]:
    logits, labels = inputs.get("logits"), inputs.get("labels")
    if logits is not None and labels is not None and not labels.is_floating_point():
        # [batch, seq, classes] is left out: only the strategy knows whether it shifts.
        fits = logits.ndim in {2, 4} and logits.shape[:1] + logits.shape[2:] == labels.shape
        if fits:
            return logits.detach(), labels
    return None, None


def cross_entropy(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy over the targets that count.

    Args:
        logits: [n, classes] or [batch, classes, height, width].
        targets: int64, [n] or [batch, height, width]; -100 doesn't count.
        class_weights: [classes] or None.

    Returns:
        The sum, and the denominator that makes it a mean.

    Raises:
        LossError: a ValueError; a target is no class (on CPU; elsewhere the device says so).
    """
    # Converted within the kernel: a sum in half precision overflows, or loses its tail.
    dtype = torch.float32 if logits.dtype in _HALF_DTYPES else None
    log_probabilities = torch.log_softmax(logits, 1, dtype=dtype)
    summed = _over_samples if logits.ndim == 2 else _over_pixels  # noqa: PLR2004 - [n, classes]
    try:
        return summed(log_probabilities, targets, class_weights)
    except IndexError as error:
        classes = logits.shape[1]
        raise LossError(
            f"A label is outside the {classes} classes of the logits ({error}); allowed are 0 to "
            f"{classes - 1}, and {IGNORED} for none."
        ) from error


def _over_samples(
    log_probabilities: Tensor, targets: Tensor, class_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    # The operator under F.nll_loss, which counts along the way: half the cost for small batches.
    return torch.ops.aten.nll_loss_forward.default(
        log_probabilities, targets, class_weights, _SUM, IGNORED
    )


def _over_pixels(
    log_probabilities: Tensor, targets: Tensor, class_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    # One by one, then summed: the fused sum over images isn't deterministic on CUDA.
    losses = F.nll_loss(log_probabilities, targets, class_weights, reduction="none")
    counted = targets != IGNORED
    if class_weights is None:
        return losses.sum(), counted.sum()
    weights = class_weights[targets.clamp(min=0)]
    return losses.sum(), torch.where(counted, weights, 0).sum()
