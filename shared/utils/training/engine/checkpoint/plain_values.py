"""Any state as tensors and plain values, which load without running code."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_KEPT = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)


def to_plain(value: Any, where: str) -> Any:
    """Copy ``value`` into containers, numbers, text, bytes and tensors alone.

    NumPy scalars become numbers and arrays tensors, dates ISO 8601 text, intervals seconds, paths,
    UUIDs and decimals text, enum members their value, dataclasses and namespaces dicts, and other
    sets and sequences lists. Tensors are detached, not copied.

    Args:
        value: anything made of these.
        where: what the error calls the value, such as ``custom_state``.

    Raises:
        TypeError: there is no plain form; the message names the place.
    """
    if type(value) in _KEPT:
        return value
    if isinstance(value, Tensor):
        return _plain_tensor(value, where)
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, tuple):
        return tuple(_plain_items(value, where))
    if isinstance(value, list | deque | range | AbstractSet):
        return _plain_items(value, where)
    return _plain_object(value, where)


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Copy a plain value, with ``change`` applied to each tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        items = ((key, map_tensors(item, change)) for key, item in value.items())
        return _like(value, items)
    if isinstance(value, list):
        return [map_tensors(item, change) for item in value]
    if type(value) is tuple:
        return tuple(map_tensors(item, change) for item in value)
    return value


def to_json_value(value: Any) -> Any:
    """Copy a plain value in JSON's terms: NaN and infinities as null, tensors as lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Tensor):
        return to_json_value(value.tolist())
    if isinstance(value, dict):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    return str(value)


def _like(original: Mapping[Any, Any], items: Any) -> dict[Any, Any]:
    """The items in a dict, or in an OrderedDict with the version metadata of a module's state."""
    if not isinstance(original, OrderedDict):
        return dict(items)
    ordered = OrderedDict(items)
    if hasattr(original, "_metadata"):
        ordered._metadata = original._metadata  # type: ignore[attr-defined]  # noqa: SLF001 - torch keeps it there
    return ordered


def _plain_mapping(value: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    return _like(
        value,
        [
            (to_plain(key, where), to_plain(item, f"{where}[{key!r}]"))
            for key, item in value.items()
        ],
    )


def _plain_items(values: Any, where: str) -> list[Any]:
    return [to_plain(item, f"{where}[{index}]") for index, item in enumerate(values)]


def _plain_tensor(value: Tensor, where: str) -> Tensor:
    if is_traceable_wrapper_subclass(value):
        raise TypeError(
            f"{where} is a {type(value).__name__}, which no checkpoint can hold; "
            "give the plain tensor that it wraps."
        )
    detached = value.detach()
    return detached if type(detached) is Tensor else detached.as_subclass(Tensor)


def _plain_object(value: Any, where: str) -> Any:
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return to_plain(convert(value), where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return to_plain(fields, where)
    raise TypeError(
        f"{where} is a {type(value).__name__}, which a checkpoint can't hold; "
        "give it as tensors, numbers, text, lists and dicts (an object's state_dict())."
    )


def _plain_array(array: np.ndarray[Any, Any]) -> Any:
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    try:
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    except TypeError:  # text, dates, objects, long doubles: torch has no such type
        return array.tolist()


# The first that fits decides: an enum member may be an int or text as well.
_CONVERSIONS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda member: member.value),
    (np.ndarray, _plain_array),
    (np.floating, float),
    (np.complexfloating, complex),
    (np.generic, lambda scalar: scalar.item()),
    (int, int),
    (float, float),
    (str, str.__str__),
    ((bytes, bytearray, memoryview), bytes),
    ((date, time), lambda moment: moment.isoformat()),
    (timedelta, timedelta.total_seconds),
    ((PurePath, UUID, Decimal), str),
    (SimpleNamespace, vars),
)
