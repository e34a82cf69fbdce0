"""How sure a model is of its predictions, and whether it is right to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE_INDEX = -100
NUM_BINS = 15
_CHUNK_VALUES = 1 << 22  # logits looked at together: 16 MiB in float32


@dataclass(frozen=True)
class ConfidenceMetrics:
    """Means over the predictions that count.

    ``top1_confidence`` and ``top5_confidence`` are probabilities (0 to 1): the most likely class's,
    and the sum over the five most likely (over all of them where there are fewer). ``entropy`` is
    in nats, from 0 to log(classes). ``calibration_error`` is the expected calibration error over 15
    bins of equal width (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), None
    without labels. All are NaN where nothing counted.
    """

    top1_confidence: float
    top5_confidence: float
    entropy: float
    num_samples: int
    calibration_error: float | None = None


class ConfidenceAccumulator:
    """Confidence over any number of batches, in one pass and with no copy of a whole batch.

    Sums stay on the logits' device in float64 (float32 on MPS, which has no other); the one
    synchronisation is in :meth:`compute`.
    """

    def __init__(self) -> None:
        self._sums: Tensor | None = None  # top1, top5, entropy, count
        self._bins: Tensor | None = None  # [3, bins]: count, confidence, correct
        self._has_labels = True

    def update(
        self,
        logits: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pad_token_id: int | None = None,
        shift_labels: bool = False,
    ) -> None:
        """Add a batch.

        Args:
            logits: [batch, classes], [batch, seq, classes] or [batch, classes, height, width].
            labels: [batch], [batch, seq] or [batch, height, width]; -100 doesn't count. [batch]
                beside [batch, seq, classes] belongs to the last position that is not padding.
            attention_mask: [batch, seq], 0 for padding; positions that it hides don't count.
            pad_token_id: the label that is padding, where no mask tells; only for [batch, seq].
            shift_labels: True where position i predicts label i + 1, as in causal language models.

        Raises:
            ValueError: the shapes don't fit.
        """
        with torch.no_grad():
            for rows, targets, counts in _rows(
                logits, labels, attention_mask, pad_token_id, shift_labels
            ):
                self._add(rows, targets, counts)
        self._has_labels = self._has_labels and labels is not None

    def _add(self, logits: Tensor, targets: Tensor | None, counts: Tensor) -> None:
        """Add rows [rows, classes] of which ``counts`` [rows] says which count."""
        if self._sums is None or self._bins is None:
            wide = torch.float32 if logits.device.type == "mps" else torch.float64
            self._sums = torch.zeros(4, dtype=wide, device=logits.device)
            self._bins = torch.zeros(3, NUM_BINS, dtype=wide, device=logits.device)
        probabilities = torch.softmax(logits.float(), dim=-1)
        top, classes = probabilities.topk(min(5, logits.shape[-1]), dim=-1)
        entropy = torch.special.entr(probabilities).sum(dim=-1)
        values = torch.stack([top[:, 0], top.sum(dim=-1), entropy, torch.ones_like(entropy)])
        wide_values = values.to(self._sums.dtype)
        self._sums += torch.where(counts, wide_values, 0.0).sum(dim=1)
        if targets is not None:
            self._add_to_bins(wide_values[0], classes[:, 0] == targets, counts)

    def _add_to_bins(self, confidence: Tensor, is_correct: Tensor, counts: Tensor) -> None:
        assert self._bins is not None
        # Bin m holds the confidences in ((m - 1) / 15, m / 15].
        bins = (confidence * NUM_BINS).ceil().sub(1).nan_to_num(0).clamp(0, NUM_BINS - 1).long()
        values = torch.stack([torch.ones_like(confidence), confidence, is_correct.to(confidence)])
        self._bins.index_add_(1, bins, torch.where(counts, values, 0.0))

    def state(self) -> tuple[list[float], list[list[float]]] | None:
        """Return the sums as plain numbers, None before a batch; waits for the device."""
        if self._sums is None or self._bins is None:
            return None
        return self._sums.tolist(), self._bins.tolist()

    def take_in(self, states: Iterable[tuple[list[float], list[list[float]]] | None]) -> None:
        """Hold the sums of several ranks, from their :meth:`state`, in place of this one's own."""
        known = [state for state in states if state is not None]
        if known:
            self._sums = torch.tensor([sums for sums, _ in known], dtype=torch.float64).sum(0)
            self._bins = torch.tensor([bins for _, bins in known], dtype=torch.float64).sum(0)

    def compute(self) -> ConfidenceMetrics:
        """The means so far."""
        if self._sums is None or self._bins is None:
            return ConfidenceMetrics(math.nan, math.nan, math.nan, 0)
        top1, top5, entropy, count = self._sums.tolist()
        if count == 0:
            return ConfidenceMetrics(math.nan, math.nan, math.nan, 0)
        error = self._calibration_error(count) if self._has_labels else None
        return ConfidenceMetrics(top1 / count, top5 / count, entropy / count, int(count), error)

    def _calibration_error(self, count: float) -> float:
        """The bins' gaps between accuracy and confidence, weighted by their share of the rows."""
        assert self._bins is not None
        _, confidence, correct = self._bins
        return float((correct - confidence).abs().sum() / count)


def compute_confidence(
    logits: Tensor,
    labels: Tensor | None = None,
    attention_mask: Tensor | None = None,
    pad_token_id: int | None = None,
    shift_labels: bool = False,
) -> ConfidenceMetrics:
    """Confidence of one batch; see :meth:`ConfidenceAccumulator.update` for shapes."""
    accumulator = ConfidenceAccumulator()
    accumulator.update(logits, labels, attention_mask, pad_token_id, shift_labels)
    return accumulator.compute()


def _rows(
    logits: Tensor,
    labels: Tensor | None,
    attention_mask: Tensor | None,
    pad_token_id: int | None,
    shift_labels: bool,
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Chunks of (logits [rows, classes], labels [rows], counts [rows]), views where they can be."""
    logits, labels, attention_mask = _last_positions(logits, labels, attention_mask)
    if logits.ndim == 4:  # noqa: PLR2004 - [batch, classes, height, width]
        logits = logits.movedim(1, -1)
    positions = logits.shape[:-1]
    counts = torch.ones(positions, dtype=torch.bool, device=logits.device)
    if attention_mask is not None:
        counts &= _fitting(attention_mask, positions, "attention_mask").to(logits.device).bool()
    if labels is not None:
        labels = _fitting(labels, positions, "labels").to(logits.device)
        if attention_mask is None and pad_token_id is not None and labels.ndim > 1:
            counts &= labels != pad_token_id
        counts &= labels != IGNORE_INDEX
    if shift_labels:
        labels, counts = _shifted(labels, counts)
    yield from _chunks(logits, labels, counts)


def _last_positions(
    logits: Tensor, labels: Tensor | None, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """[batch, seq, classes] beside labels [batch]: the last position that is not padding."""
    if logits.ndim != 3 or labels is None or labels.ndim != 1:  # noqa: PLR2004 - [batch, seq, classes]
        return logits, labels, attention_mask
    batch, seq, _ = logits.shape
    last = torch.full((batch,), seq - 1, device=logits.device)
    if attention_mask is not None:
        places = torch.arange(seq, device=logits.device)
        last = (attention_mask.to(logits.device).bool() * places).argmax(dim=1)
    return logits[torch.arange(batch, device=logits.device), last], labels, None


def _shifted(labels: Tensor | None, counts: Tensor) -> tuple[Tensor | None, Tensor]:
    """Labels and counts moved one position to the left, so that the logits needn't be copied."""
    counts = torch.cat([counts[:, 1:], torch.zeros_like(counts[:, :1])], dim=1)
    if labels is not None:
        labels = torch.cat([labels[:, 1:], labels[:, :1]], dim=1)
    return labels, counts


def _chunks(
    logits: Tensor, labels: Tensor | None, counts: Tensor
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    classes = logits.shape[-1]
    size = max(1, _CHUNK_VALUES // max(classes, 1))
    flat_labels = None if labels is None else labels.reshape(-1)
    flat_counts = counts.reshape(-1)
    # A batch item at a time where flattening would copy: the copy is then one item's.
    is_flat = logits.ndim == 2 or logits.is_contiguous()  # noqa: PLR2004 - [rows, classes]
    start = 0
    for part in [logits] if is_flat else logits:
        for chunk in part.reshape(-1, classes).split(size):
            end = start + chunk.shape[0]
            targets = None if flat_labels is None else flat_labels[start:end]
            yield chunk, targets, flat_counts[start:end]
            start = end


def _fitting(values: Tensor, positions: torch.Size, name: str) -> Tensor:
    if values.shape != positions:
        raise ValueError(
            f"{name} has shape {list(values.shape)} and the logits have positions "
            f"{list(positions)}; give one value for each position."
        )
    return values
