"""The Open Inference Protocol's binary tensors: JSON that names them, then their bytes in order.

A number takes its own size and is copied, where JSON would write and read its digits. Most requests
have the shapes of one before, so that their JSON is neither written nor read again.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache

import numpy as np

HEADER = "Inference-Header-Content-Length"  # of HTTP: how many bytes of the body are the JSON
_KINDS = {"INT64": np.dtype("<i8"), "FP32": np.dtype("<f4")}
_DATATYPES = {"i": "INT64", "f": "FP32"}  # by NumPy's kind
_SHAPES_KEPT = 256
_ALIGNMENT = 16  # of the first tensor in a body


def pack(member: str, arrays: dict[str, np.ndarray]) -> tuple[bytes, int]:
    """Write arrays as the ``inputs`` or ``outputs`` of a body; return it and its JSON's length."""
    tensors = [(name, _DATATYPES[a.dtype.kind], a.shape) for name, a in arrays.items()]
    head = _head(member, tuple(tensors))
    parts = [
        array.astype(_KINDS[datatype], copy=False).tobytes()
        for (_, datatype, _), array in zip(tensors, arrays.values(), strict=True)
    ]
    return b"".join((head, *parts)), len(head)


def unpack(member: str, body: bytes | bytearray, length: int) -> dict[str, np.ndarray]:
    """Read the arrays of a body, in its memory where they lie well in it.

    Args:
        member: ``inputs`` or ``outputs``.
        body: JSON of ``length`` bytes, and the tensors' bytes.
        length: what the header says.

    Raises:
        ValueError: the body is not such a one.
    """
    tensors, num_bytes = _tensors(member, bytes(body[:length]))
    if len(body) != length + num_bytes:
        raise ValueError(
            f"The body has {len(body)} bytes, and {length + num_bytes} were announced."
        )
    return {
        name: np.require(
            np.frombuffer(body, kind, math.prod(shape), length + offset), None, "A"
        ).reshape(shape)
        for name, kind, shape, offset in tensors
    }


@lru_cache(_SHAPES_KEPT)
def _head(member: str, tensors: tuple) -> bytes:
    described = [
        {
            "name": name,
            "shape": shape,
            "datatype": datatype,
            "parameters": {"binary_data_size": math.prod(shape) * _KINDS[datatype].itemsize},
        }
        for name, datatype, shape in tensors
    ]
    head = json.dumps({member: described}).encode()
    return head + b" " * (-len(head) % _ALIGNMENT)


@lru_cache(_SHAPES_KEPT)
def _tensors(member: str, head: bytes) -> tuple[list[tuple], int]:
    """Name, kind, shape and offset of each tensor, and the bytes of all."""
    found, offset = [], 0
    try:
        for tensor in json.loads(head)[member]:
            kind, shape = _KINDS[tensor["datatype"]], _shape(tensor["shape"])
            found.append((str(tensor["name"]), kind, shape, offset))
            offset += math.prod(shape) * kind.itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The body holds no {member} as binary tensors: {error}.") from error
    return found, offset


def _shape(sizes: list) -> tuple[int, ...]:
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"{sizes} is no shape")
    return tuple(sizes)
