"""English prose: the topics of Python's manual, which come with the interpreter."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pydoc_data import topics
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from services.trainer.samples.sample import Sample
from utils.training.task_spec import TaskSpec

VOCAB_SIZE = 2048
BLOCK = 64  # tokens in a sample
PAD = "<pad>"


class Blocks(Dataset[dict[str, Tensor]]):
    """Consecutive blocks of a token stream as ``input_ids`` [BLOCK] and equal ``labels``."""

    def __init__(self, ids: Tensor) -> None:
        self.blocks = ids[: len(ids) // BLOCK * BLOCK].view(-1, BLOCK)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.blocks[index], "labels": self.blocks[index]}


@cache
def tokenizer() -> Any:
    """A byte-level BPE tokenizer, trained on the text itself: the same on every machine."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        _texts(), vocab_size=VOCAB_SIZE, special_tokens=[PAD], show_progress=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, pad_token=PAD)  # noqa: SLF001 - the only way to the inner tokenizer


def build_model() -> nn.Module:
    """A fresh two-layer GPT-2: about 235,000 parameters."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB_SIZE,
            n_positions=BLOCK,
            n_embd=64,
            n_layer=2,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
        )
    )


def load_text() -> Sample:
    """About 130,000 tokens; no topic is in two of the splits."""
    encoded = [torch.tensor(tokenizer().encode(text)) for text in _texts()]
    parts = [torch.cat(encoded[start::10]) for start in range(10)]
    return Sample(
        TaskSpec(
            name="text",
            modality="text",
            max_seq_len=BLOCK,
            vocab_size=VOCAB_SIZE,
            pad_token_id=0,
        ),
        train=Blocks(torch.cat(parts[:8])),
        validation=Blocks(parts[9]),
        test=Blocks(parts[8]),
        build_model=build_model,
        tokenizer=tokenizer(),
    )


def unigram_perplexity(train: Blocks, test: Blocks) -> float:
    """The perplexity of token frequencies alone, with one added to every count (Laplace)."""
    counts = Counter(train.blocks.flatten().tolist())
    total = train.blocks.numel() + VOCAB_SIZE
    surprise = sum(
        -math.log((counts[token] + 1) / total) for token in test.blocks.flatten().tolist()
    )
    return math.exp(surprise / test.blocks.numel())


def _texts() -> list[str]:
    return [text for _, text in sorted(topics.topics.items())]
