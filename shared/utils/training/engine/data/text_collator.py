"""Token sequences of any lengths in one padded batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from utils.training.arguments import described, is_whole, require_instance
from utils.training.engine.data.stacking import (
    LABEL_KEYS,
    CollateError,
    is_number_like,
    pair,
    refuse_no_samples,
    refuse_other_keys,
    refuse_text_labels,
    stack,
    to_tensor,
)
from utils.training.errors import WrongTypeError
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
        _refuse_kinds(tokenizer, task_spec)
        if padding_side not in (None, "left", "right"):
            raise ValueError(f"padding_side is {padding_side!r}, allowed are 'left' and 'right'.")
        for name, value in (
            ("max_seq_len", max_seq_len),
            ("pad_to_multiple_of", pad_to_multiple_of),
        ):
            if value is not None and not is_whole(value, 1):
                raise ValueError(f"{name} is {value!r}, allowed is 1 or more, or None.")
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
        fields = [_as_mapping(sample, n) for n, sample in enumerate(samples)]
        refuse_other_keys(fields)
        if not self.makes_labels:
            refuse_text_labels(fields[0])
        ids = [_checked_ids(f["input_ids"], n) for n, f in enumerate(fields)]
        lengths = [len(row) for row in ids]
        self._warn_of_cut(max(lengths))
        batch = {"input_ids": self._by_token(ids, self.pad_token_id)}
        for name, value in fields[0].items():
            if name != "input_ids" and is_number_like(value):
                own_name = "labels" if name in LABEL_KEYS else name
                batch[own_name] = self._column(own_name, [f[name] for f in fields], lengths)
        if "attention_mask" not in batch:
            batch["attention_mask"] = self._mask(batch["input_ids"], lengths)
        if self.makes_labels and "labels" not in batch:
            is_padding = batch["attention_mask"] == 0
            batch["labels"] = batch["input_ids"].masked_fill(is_padding, IGNORED)
        return batch

    def _column(self, name: str, values: list[Any], lengths: list[int]) -> Tensor:
        """Pad a field with an entry for each token, and stack any other."""
        rows = [to_tensor(value, name) for value in values]
        dtype = next((row.dtype for row in rows if row.numel()), torch.int64)
        if name == "labels" and not dtype.is_floating_point:
            dtype = torch.int64
        rows = [row.to(dtype) for row in rows]  # an empty list has no type of its own
        if [row.shape for row in rows] == [(length,) for length in lengths]:
            return self._by_token(rows, IGNORED if name == "labels" else 0)
        if name == "attention_mask" or (name == "labels" and self.makes_labels and rows[0].ndim):
            _refuse_other_lengths(name, rows, lengths)
        return stack(rows, name)

    def _by_token(self, rows: list[Tensor], fill: int) -> Tensor:
        if self.max_seq_len is not None:
            rows = [row[: self.max_seq_len] for row in rows]
        return self._pad(rows, fill)

    def _mask(self, ids: Tensor, lengths: list[int]) -> Tensor:
        """Tell tokens from padding, [batch, seq]: by the padding id at the end, or by length."""
        is_right = self.padding_side == "right"
        if self._unpads:
            real = ids.ne(self.pad_token_id).long()
            if is_right:
                return real.flip(1).cummax(1).values.flip(1)
            return real.cummax(1).values
        position = torch.arange(ids.shape[1])
        from_edge = position if is_right else position.flip(0)
        return (from_edge < torch.tensor(lengths).unsqueeze(1)).long()

    def _warn_of_cut(self, longest: int) -> None:
        limit = self.max_seq_len
        if limit is None or longest <= limit or self._has_warned:
            return
        self._has_warned = True
        logger.warning(
            "A sample has %d tokens and max_seq_len is %d: this one and all longer ones lose "
            "their end.",
            longest,
            limit,
        )

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


def _refuse_kinds(tokenizer: Any, task_spec: Any) -> None:
    require_instance("task_spec", task_spec, (TaskSpec, NoneType), "a TaskSpec")
    if isinstance(tokenizer, str):
        advice = "load it first: AutoTokenizer.from_pretrained(name)"
        raise WrongTypeError("tokenizer", described(tokenizer), "a tokenizer", advice)


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


def _checked_ids(value: Any, position: int) -> Tensor:
    ids = to_tensor(value, "input_ids")
    if ids.ndim == 1 and ids.dtype == torch.int64:
        return ids
    is_whole = not ids.is_floating_point() and ids.dtype != torch.bool
    if ids.ndim != 1 or not (is_whole or ids.numel() == 0):
        raise CollateError(
            f"'input_ids' of sample {position} is a {ids.dtype} of shape {list(ids.shape)}, "
            "allowed are whole numbers [seq]."
        )
    return ids.long()


def _refuse_other_lengths(name: str, rows: list[Tensor], lengths: list[int]) -> None:
    for position, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if row.shape != (length,):
            raise CollateError(
                f"'{name}' of sample {position} has the shape {list(row.shape)} and 'input_ids' "
                f"[{length}]; give one entry for each token."
            )


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
