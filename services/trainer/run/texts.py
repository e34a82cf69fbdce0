"""A tokenizer for texts that bring none: byte-level BPE, the same for the same texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from utils.training.task_spec import TaskSpec

_PAD = "<pad>"


def train_tokenizer(texts: Iterable[str], task_spec: TaskSpec) -> Any:
    """Train a tokenizer of at most ``vocab_size`` entries; padding is entry 0, as in the task."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, vocab_size=task_spec.vocab_size, special_tokens=[_PAD], show_progress=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, pad_token=_PAD)  # noqa: SLF001 - the only way to the inner tokenizer
