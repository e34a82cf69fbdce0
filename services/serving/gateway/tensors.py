"""Tensors of the Open Inference Protocol: checked before a model is asked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from services.serving.backends.protocol import Arrays, InputRefusedError
from utils.training.export_utilities.templates.preprocessing import InputError, parse_tensors

_KINDS = {"FP32": "iuf", "INT64": "i"}  # what JSON's numbers may be read as


def read_tensors(tensors: Any, specs: list[dict[str, Any]]) -> Arrays:
    """A request's ``inputs`` as arrays, in the signature's order.

    Raises:
        InputRefusedError: a ValueError; a tensor is unknown, missing, given twice, or does not fit
            the signature in datatype, shape or range.
    """
    if not isinstance(tensors, list) or not all(isinstance(one, dict) for one in tensors):
        raise InputRefusedError(
            '"inputs" is a list of tensors, each with name, shape, datatype and data.'
        )
    known = {spec["name"]: spec for spec in specs}
    _check_names([tensor.get("name") for tensor in tensors], known)
    numbers = [_numbers(tensor, known[tensor["name"]]) for tensor in tensors]
    try:
        with np.errstate(over="ignore"):  # what is too large becomes Inf, which is refused
            arrays: Arrays = parse_tensors(numbers, specs)
    except InputError as fault:
        raise InputRefusedError(str(fault)) from fault
    return arrays


def _check_names(names: list[Any], known: dict[str, Any]) -> None:
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise InputRefusedError(
                f"The tensor {str(name)[:100]!r} is unknown; the model takes {', '.join(known)}."
            )
    twice = next((name for name in known if names.count(name) > 1), None)
    if twice is not None:
        raise InputRefusedError(f"The tensor {twice} is given twice; give it once.")


def _numbers(tensor: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The tensor with its data as an array of numbers, nested as they came or flat."""
    name, shape, data = tensor["name"], tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InputRefusedError(f"{name}'s shape is a list of whole numbers from 0 up.")
    if not isinstance(data, list):
        raise InputRefusedError(f"{name} lacks its data, a list of numbers, flat or nested.")
    try:
        array = np.array(data)
    except ValueError:
        raise InputRefusedError(f"{name}'s data are lists of different lengths.") from None
    kinds = _KINDS[spec["datatype"]]
    if array.size and array.dtype.kind not in kinds:
        raise InputRefusedError(f"{name}'s data hold something that is no {spec['datatype']}.")
    fits = array.size == math.prod(shape) if array.ndim == 1 else list(array.shape) == shape
    if not fits:
        raise InputRefusedError(
            f"{name}'s data have the shape {list(array.shape)}, which does not fit {shape}."
        )
    return {**tensor, "data": array}
