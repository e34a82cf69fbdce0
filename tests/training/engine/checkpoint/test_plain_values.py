"""Users' values as tensors and plain values."""

from __future__ import annotations

import io
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from utils.training.engine.checkpoint.plain_values import map_tensors, to_json_value, to_plain


class Level(IntEnum):
    HIGH = 3


class Mode(StrEnum):
    MIN = "min"


class Shape(Enum):
    SQUARE = (2, 2)


class Count(int):
    pass


class Name(str):
    __slots__ = ()


@dataclass
class Inner:
    rate: np.float64


@dataclass
class Outer:
    inner: Inner
    names: list[str] = field(default_factory=list)


Point = namedtuple("Point", "x y")  # noqa: PYI024 - users have these


@pytest.mark.parametrize(
    ("given_value", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.complex64(1j), 1j),
        (np.str_("a"), "a"),
        (np.bytes_(b"a"), b"a"),
        (np.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([1, Path("a")], dtype=object), [1, "a"]),
        (np.array([0.5], dtype=np.longdouble), [0.5]),
        (Path("a/b"), "a/b"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),  # noqa: DTZ001 - users have these
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1), 60.0),
        (Level.HIGH, 3),
        (Mode.MIN, "min"),
        (Shape.SQUARE, (2, 2)),
        (Count(3), 3),
        (Name("n"), "n"),
        (bytearray(b"ab"), b"ab"),
        (range(3), [0, 1, 2]),
        (deque([1]), [1]),
        (frozenset([1]), [1]),
        (Point(1, np.int8(2)), (1, 2)),
        (Outer(Inner(np.float64(1)), ["a"]), {"inner": {"rate": 1.0}, "names": ["a"]}),
        (SimpleNamespace(a=np.int64(1)), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (defaultdict(list, {np.int64(1): [Path("x")]}), {1: ["x"]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (torch.float16, torch.float16),
        (torch.device("cpu"), torch.device("cpu")),
        (torch.Size([2]), torch.Size([2])),
        (None, None),
    ],
)
def test_each_kind_has_its_plain_form_that_loads_safely(given_value, plain):
    result = to_plain({"value": given_value}, "state")["value"]

    assert result == plain
    assert type(result) is type(plain)
    file = Path("value.pt")
    torch.save(result, file)
    assert torch.serialization.get_unsafe_globals_in_checkpoint(file) == []

    assert torch.load(file, weights_only=True) == plain


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6)[::-2],
        np.asfortranarray(np.ones((2, 3), dtype=np.float32)),
        np.array(3.0),
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
        np.arange(3, dtype=np.uint16),
        np.frombuffer(b"abc", dtype=np.uint8),
    ],
)
def test_arrays_become_tensors_of_the_same_shape_and_values(array):
    tensor = to_plain(array, "state")

    assert tensor.shape == array.shape
    assert tensor.tolist() == array.tolist()


def test_parameters_and_graph_tensors_become_detached_tensors():
    parameter = nn.Parameter(torch.ones(2))
    plain = to_plain([parameter, parameter * 2], "state")

    assert [type(t) for t in plain] == [torch.Tensor, torch.Tensor]
    assert not plain[1].requires_grad
    assert plain[0].data_ptr() == parameter.data_ptr()


@pytest.mark.parametrize("value", [lambda: 1, object(), io.StringIO(), Outer, nn.Linear(1, 1)])
def test_what_has_no_plain_form_is_named_by_its_place(value):
    with pytest.raises(TypeError, match=r"state\['a'\]\[0\] is a .*state_dict\(\)"):
        to_plain({"a": [value]}, "state")


def test_a_tensor_that_wraps_others_is_refused():
    from torch.testing._internal.two_tensor import TwoTensor

    with pytest.raises(TypeError, match="state is a TwoTensor"):
        to_plain(TwoTensor(torch.ones(1), torch.ones(1)), "state")


def test_an_ordered_dict_stays_one():
    assert type(to_plain(OrderedDict(a=1), "state")) is OrderedDict


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(plain_values)
def test_plain_values_stay_what_they_are_and_are_copied(value):
    plain = to_plain(value, "state")

    assert plain == value
    assert map_tensors(plain, torch.clone) == value
    if isinstance(value, list | dict):
        assert plain is not value


def test_json_values_are_strict_json():
    value = {
        1: (float("nan"), float("inf"), 0.5),
        "tensor": torch.tensor([1.0, float("nan")]),
        "dtype": torch.float16,
        "flag": True,
        "none": None,
    }

    assert to_json_value(value) == {
        "1": [None, None, 0.5],
        "tensor": [1.0, None],
        "dtype": "torch.float16",
        "flag": True,
        "none": None,
    }
