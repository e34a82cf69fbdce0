"""Token sequences of any lengths in one padded batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from utils.training.engine.data.stacking import (
    LABEL_KEYS,
    CollateError,
    is_number_like,
    pair,
    refuse_no_samples,
    refuse_other_keys,
    stack,
    to_tensor,
)
from utils.training.task_spec import Side, TaskSpec

logger = logging.getLogger(__name__)

IGNORED = -100  # a label that no loss counts
_LM_TASKS = ("language_modeling", "causal_lm")
_UNLIMITED = 10**9  # a tokenizer without a limit gives 10**30


class LanguageModelingDataCollator:
    """Pads a batch to its longest sample and makes what is missing: mask and labels.

    A sample is a mapping with ``input_ids`` (a list, array or tensor [seq]), the ids alone, or a
    tuple of ids and label. The batch holds ``input_ids``, ``attention_mask`` and, where the
    samples have them or the task is language modelling, ``labels`` [batch, seq] with -100 on
    padding; a label for the whole sequence stays [batch]. Other fields as long as the ids are
    padded with 0, others stacked, strings left out.

    A sample that comes padded without a mask is unpadded: a run of the padding id at the padded
    end doesn't count, unless that id is the end-of-text token too.

    Args:
        tokenizer: gives the padding id and, without a ``task_spec``, side and length.
        task_spec: gives side and length, and the padding id without a tokenizer.
        max_seq_len: tokens; longer samples lose their end (with one warning). None: the task's.
        padding_side: None: the task's.
        pad_token_id: None: the tokenizer's, else the task's, else 0.
        pad_to_multiple_of: tokens; 8 suits tensor cores. Never beyond ``max_seq_len``.
    """

    draws_nothing = True

    def __init__(
        self,
        tokenizer: Any = None,
        task_spec: TaskSpec | None = None,
        *,
        max_seq_len: int | None = None,
        padding_side: Side | None = None,
        pad_token_id: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if padding_side not in (None, "left", "right"):
            raise ValueError(f"padding_side is {padding_side!r}, allowed are 'left' and 'right'.")
        for name, value in (
            ("max_seq_len", max_seq_len),
            ("pad_to_multiple_of", pad_to_multiple_of),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, allowed is 1 or more, or None.")
        self.max_seq_len = max_seq_len or _length_limit(tokenizer, task_spec)
        self.padding_side = padding_side or _side(tokenizer, task_spec)
        self.padding_id = _padding_id(pad_token_id, tokenizer, task_spec)
        self.pad_token_id = self.padding_id or 0
        self.pad_to_multiple_of = pad_to_multiple_of
        self.makes_labels = task_spec is None or task_spec.task_type in _LM_TASKS
        ends = getattr(tokenizer, "eos_token_id", None)
        self._unpads = self.padding_id is not None and self.padding_id != ends
        self._has_warned = False

    def __call__(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """Make a batch, each tensor [batch, seq] or [batch].

        Raises:
            CollateError: a ValueError; there is no sample or token, or fields don't fit the ids.
        """
        refuse_no_samples(samples)
        fields = [self._fields(sample, n) for n, sample in enumerate(samples)]
        refuse_other_keys(fields)
        batch = {name: self._column(name, fields) for name in fields[0]}
        if self.makes_labels and "labels" not in batch:
            mask = batch["attention_mask"]
            batch["labels"] = batch["input_ids"].masked_fill(mask == 0, IGNORED)
        return batch

    def _fields(self, sample: Any, position: int) -> dict[str, Tensor]:
        """Read one sample into tensors, cut to the limit, with a mask."""
        given = _as_mapping(sample, position)
        fields = {
            "labels" if name in LABEL_KEYS else name: to_tensor(value, name)
            for name, value in given.items()
            if is_number_like(value)
        }
        ids = fields["input_ids"] = _checked_ids(fields["input_ids"], position)
        fields.setdefault("attention_mask", self._mask(ids))
        if "labels" in fields and not fields["labels"].is_floating_point():
            fields["labels"] = fields["labels"].long()
        by_token = ("attention_mask", "labels") if self.makes_labels else ("attention_mask",)
        for name in by_token:
            field = fields.get(name, ids)
            if field.ndim and len(field) != len(ids):
                raise CollateError(
                    f"'{name}' of sample {position} has {len(field)} entries and 'input_ids' "
                    f"{len(ids)}; give one for each token."
                )
        return self._cut(fields, len(ids))

    def _mask(self, ids: Tensor) -> Tensor:
        mask = torch.ones_like(ids)
        if not self._unpads or not len(ids):
            return mask
        last = ids[-1] if self.padding_side == "right" else ids[0]
        if last != self.padding_id:
            return mask
        real = torch.ne(ids, self.pad_token_id).long()
        if self.padding_side == "right":
            return real.flip(0).cummax(0).values.flip(0)
        return real.cummax(0).values

    def _cut(self, fields: dict[str, Tensor], length: int) -> dict[str, Tensor]:
        limit = self.max_seq_len
        if limit is None or length <= limit:
            return fields
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "A sample has %d tokens and max_seq_len is %d: this one and all longer ones lose "
                "their end.",
                length,
                limit,
            )
        return {
            name: field[:limit] if field.ndim and len(field) == length else field
            for name, field in fields.items()
        }

    def _column(self, name: str, fields: list[dict[str, Tensor]]) -> Tensor:
        rows = [sample[name] for sample in fields]
        is_by_token = all(
            row.ndim == 1 and len(row) == len(sample["input_ids"])
            for row, sample in zip(rows, fields, strict=True)
        )
        if not is_by_token:
            return stack(rows, name)
        fill = {"input_ids": self.pad_token_id, "labels": IGNORED}.get(name, 0)
        return self._pad(rows, fill)

    def _pad(self, rows: list[Tensor], fill: int) -> Tensor:
        padded = pad_sequence(
            rows, batch_first=True, padding_value=fill, padding_side=self.padding_side
        )
        missing = self._width(padded.shape[1]) - padded.shape[1]
        if not missing:
            return padded
        sides = (0, missing) if self.padding_side == "right" else (missing, 0)
        return torch.nn.functional.pad(padded, sides, value=fill)

    def _width(self, longest: int) -> int:
        if longest == 0:
            raise CollateError("All samples of the batch are empty; give at least 1 token.")
        if self.pad_to_multiple_of is None:
            return longest
        multiple = -(-longest // self.pad_to_multiple_of) * self.pad_to_multiple_of
        return max(longest, min(multiple, self.max_seq_len or multiple))


def _as_mapping(sample: Any, position: int) -> Mapping[str, Any]:
    if isinstance(sample, tuple):
        return pair(sample, "input_ids")
    if not isinstance(sample, Mapping):
        return {"input_ids": sample}
    if "input_ids" not in sample:
        raise CollateError(
            f"Sample {position} of the batch has no 'input_ids', only {', '.join(map(str, sample))}"
            "; tokenize the dataset first, or name another collator."
        )
    return sample


def _checked_ids(ids: Tensor, position: int) -> Tensor:
    is_empty = ids.numel() == 0 and ids.ndim == 1
    if is_empty:
        return ids.long()
    if ids.ndim != 1 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise CollateError(
            f"'input_ids' of sample {position} is a {ids.dtype} of shape {list(ids.shape)}, "
            "allowed are whole numbers [seq]."
        )
    return ids.long()


def _length_limit(tokenizer: Any, task_spec: TaskSpec | None) -> int | None:
    if task_spec is not None:
        return task_spec.max_seq_len
    limit = getattr(tokenizer, "model_max_length", None)
    return limit if limit is not None and limit < _UNLIMITED else None


def _side(tokenizer: Any, task_spec: TaskSpec | None) -> Side:
    if task_spec is not None:
        return task_spec.padding_side
    return "left" if getattr(tokenizer, "padding_side", "right") == "left" else "right"


def _padding_id(given: int | None, tokenizer: Any, task_spec: TaskSpec | None) -> int | None:
    of_tokenizer = getattr(tokenizer, "pad_token_id", None)
    if given is not None or of_tokenizer is not None:
        return given if given is not None else of_tokenizer
    return task_spec.pad_token_id if task_spec is not None else None
