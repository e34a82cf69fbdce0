from collections import UserDict
from typing import NamedTuple

import pytest
import torch
from transformers import BatchEncoding

from utils.training.engine.data import batch_size_of, to_device


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def test_nested_batches_move_whole():
    batch = {"x": torch.ones(2), "more": [torch.ones(1), (torch.ones(3), "name")], "n": 4}
    moved = to_device(batch, "meta")
    assert moved["x"].device.type == moved["more"][0].device.type == "meta"
    assert moved["more"][1][0].device.type == "meta"
    assert isinstance(moved["more"][1], tuple)
    assert (moved["more"][1][1], moved["n"]) == ("name", 4)
    assert batch["x"].device.type == "cpu"


@pytest.mark.parametrize("kind", [Pair, UserDict, BatchEncoding])
def test_the_containers_stay_what_they_are(kind):
    x, y = torch.ones(2), torch.zeros(2)
    batch = Pair(x, y) if kind is Pair else kind({"x": x, "y": y})
    moved = to_device(batch, "meta")
    assert type(moved) is kind
    assert (moved.x if kind is Pair else moved["x"]).device.type == "meta"


def test_what_is_there_already_stays_the_same_object():
    batch = {"x": torch.ones(2), "y": (torch.ones(1), [torch.ones(1)])}
    assert to_device(batch, "cpu") is batch
    assert to_device(batch["x"], torch.device("cpu")) is batch["x"]


def test_without_an_index_any_device_of_the_type_will_do():
    tensor = torch.empty(1, device="meta")
    assert to_device(tensor, "meta") is tensor


@pytest.mark.parametrize(
    "batch",
    [
        torch.ones(3, 2),
        {"scale": torch.tensor(1.0), "x": torch.ones(3)},
        (["a", "b"], torch.ones(3, 1)),
        [{"x": torch.ones(3)}, torch.ones(5)],
    ],
)
def test_the_batch_size_is_the_first_dimension(batch):
    assert batch_size_of(batch) == 3


@pytest.mark.parametrize("batch", [{}, {"x": "text"}, torch.tensor(1.0), [], 3])
def test_a_batch_without_a_size_is_refused(batch):
    with pytest.raises(ValueError, match="without a tensor that has a first dimension"):
        batch_size_of(batch)
