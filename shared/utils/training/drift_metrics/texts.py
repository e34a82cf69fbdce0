"""From texts, raw or as token ids, to lengths and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from zlib import crc32

import numpy as np

from utils.training.drift_metrics.column import Column
from utils.training.drift_metrics.samples import INPUT, Fields, to_array
from utils.training.drift_metrics.tokens import Ints

_IDS = ("input_ids", "tokens")
_RAW = ("text", "sentence")
_LAYOUT = ("attention_mask", "token_type_ids", "position_ids")  # no content of their own
_WORD = re.compile(r"\w+|[^\w\s]")


def take_texts(fields: Fields, pad_token_id: int | None) -> tuple[dict[str, Column], Fields]:
    """The columns ``length`` (tokens or words) and ``tokens``, and the fields that are no text.

    Token ids are taken before raw text. The attention mask decides what is padding, without one
    the padding's id does.
    """
    name = next((n for n in (*_IDS, *_RAW, INPUT) if n in fields), None)
    if name is None:
        return {}, fields
    rest = {n: v for n, v in fields.items() if n not in {name, *_IDS, *_RAW, *_LAYOUT}}
    masks = fields.get("attention_mask")
    documents = [
        _tokens(value, None if masks is None else masks[row], pad_token_id)
        for row, value in enumerate(fields[name])
    ]
    lengths = np.array([np.nan if d is None else len(d) for d in documents])
    nothing = np.zeros(0, dtype=np.int64)
    tokens = [nothing if document is None else document for document in documents]
    return {"length": Column("numeric", lengths), "tokens": Column("tokens", tokens)}, rest


def _tokens(value: Any, mask: Any, pad_token_id: int | None) -> Ints | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _words(_WORD.findall(value.lower()))
    if isinstance(value, list | tuple) and value and isinstance(value[0], str):
        return _words(value)
    ids = to_array(value).astype(np.int64).ravel()
    if mask is not None:
        return ids[to_array(mask).ravel().astype(bool)]
    return ids if pad_token_id is None else ids[ids != pad_token_id]


def _words(words: Iterable[str]) -> Ints:
    numbers = [crc32(word.encode("utf-8", errors="surrogatepass")) for word in words]
    return np.array(numbers, dtype=np.int64)
