"""Tensors come back as they were packed, and bytes that are no tensors are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from utils.training.export_utilities.templates.binary_tensors import pack, unpack

ARRAYS = {
    "input_ids": np.arange(6, dtype=np.int64).reshape(2, 3),
    "pixels": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 1, 4),
    "flags": np.array([[2**62], [-1]]),
}


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_arrays_come_back_as_they_were(kind):
    body, length = pack("inputs", ARRAYS)
    found = unpack("inputs", kind(body), length)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].flags.aligned


def test_rows_in_another_order_of_memory_come_back_too():
    array = ARRAYS["input_ids"].T[::-1]
    body, length = pack("inputs", {"x": array})
    np.testing.assert_array_equal(unpack("inputs", body, length)["x"], array)


def test_the_json_is_the_protocols_own():
    body, length = pack("outputs", {"pixels": ARRAYS["pixels"]})
    assert json.loads(body[:length]) == {
        "outputs": [
            {
                "name": "pixels",
                "shape": [2, 1, 4],
                "datatype": "FP32",
                "parameters": {"binary_data_size": 32},
            }
        ]
    }
    assert body[length:] == ARRAYS["pixels"].tobytes()


def described(**changes):
    tensor = {"name": "x", "shape": [2], "datatype": "FP32"} | changes
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b"", b""),
        (b"no json", b""),
        (b"[]", b""),
        (b'{"inputs": 3}', b""),
        (b'{"inputs": [3]}', b""),
        (b'{"outputs": []}', b""),
        (described(datatype="FP64"), bytes(16)),
        (described(datatype=["FP32"]), bytes(8)),
        (described(shape="2"), bytes(8)),
        (described(shape=[-2]), bytes(8)),
        (described(shape=[True, 2]), bytes(8)),
        (described(shape=[2.0]), bytes(8)),
        (described(shape=None), bytes(8)),
        (described(shape=[10**9, 10**9]), bytes(8)),
        (described(), bytes(7)),
        (described(), bytes(9)),
    ],
)
def test_what_is_no_tensor_is_refused(head, tail):
    with pytest.raises(ValueError, match=r"The body (has|holds no inputs as binary tensors)"):
        unpack("inputs", head + tail, len(head))


@pytest.mark.parametrize("length", [-1, 0, 1, 10_000])
def test_a_wrong_length_of_the_json_is_refused(length):
    body, _ = pack("inputs", ARRAYS)
    with pytest.raises(ValueError, match="The body"):
        unpack("inputs", body, length)
