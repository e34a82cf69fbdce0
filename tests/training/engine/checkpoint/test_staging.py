"""Host copies of a state in kept memory."""

from __future__ import annotations

import os

import pytest
import torch

from utils.training.engine.checkpoint.direct_io import ALIGNMENT_BYTES
from utils.training.engine.checkpoint.staging import HostBuffers, is_on_host


@pytest.fixture
def buffers():
    return HostBuffers()


def pointers(state):
    return [t.data_ptr() for t in state.values() if isinstance(t, torch.Tensor)]


def test_the_copy_is_equal_and_does_not_follow_the_original(buffers):
    state = {
        "half": torch.randn(5, 3).half(),
        "scalar": torch.tensor(3.5),
        "flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 4),
        "nested": {"list": [torch.arange(4), (torch.ones(2), "text")]},
    }
    copy = buffers.snapshot(state)
    state["half"].zero_()
    state["nested"]["list"][1][0].zero_()

    assert copy["half"].abs().sum() > 0
    assert copy["half"].dtype is torch.float16
    assert copy["scalar"].item() == 3.5
    assert copy["flags"].tolist() == [True, False]
    assert copy["empty"].shape == (0, 4)
    assert copy["nested"]["list"][0].tolist() == [0, 1, 2, 3]
    assert copy["nested"]["list"][1][0].tolist() == [1, 1]
    assert copy["nested"]["list"][1][1] == "text"


def test_strides_offsets_and_shared_memory_are_kept(buffers):
    weight = torch.arange(12.0).reshape(3, 4)
    state = {"a": weight, "tied": weight, "turned": weight.T, "part": weight[1:, 2]}
    copy = buffers.snapshot(state)

    for name, tensor in state.items():
        assert torch.equal(copy[name], tensor)
        assert copy[name].stride() == tensor.stride()
    copy["a"][1, 2] = -1
    assert copy["tied"][1, 2] == copy["turned"][2, 1] == copy["part"][0] == -1


def test_tensors_that_are_no_plain_views_are_cloned(buffers):
    sparse = torch.eye(3).to_sparse()
    conjugate = torch.tensor([1 + 2j]).conj()
    copy = buffers.snapshot({"sparse": sparse, "conjugate": conjugate})

    assert torch.equal(copy["sparse"].to_dense(), torch.eye(3))
    assert copy["conjugate"].tolist() == [1 - 2j]


def test_the_memory_is_used_again_while_it_is_large_enough(buffers):
    first = pointers(buffers.snapshot({"a": torch.ones(100), "b": torch.ones(10)}))
    second = pointers(buffers.snapshot({"a": torch.zeros(100), "b": torch.zeros(10)}))
    smaller = pointers(buffers.snapshot({"a": torch.zeros(50)}))
    larger = buffers.snapshot({"a": torch.full((10_000,), 2.0)})

    assert first == second
    assert smaller == first[:1]
    assert larger["a"].sum() == 20_000
    buffers.release()
    assert buffers.snapshot({"a": torch.full((3,), 2.0)})["a"].tolist() == [2, 2, 2]


def test_every_copy_begins_where_a_disk_can_take_it_from(buffers):
    copy = buffers.snapshot({"a": torch.ones(3), "b": torch.ones(5000), "c": torch.ones(7).half()})

    assert [pointer % ALIGNMENT_BYTES for pointer in pointers(copy)] == [0, 0, 0]


def test_the_copy_fills_up_while_the_body_runs_and_is_whole_after_it(buffers):
    state = {"a": torch.full((30_000_000,), 3.0), "b": torch.arange(4)}
    with buffers.copying(state) as copy:
        place = pointers(copy)
    state["a"].zero_()

    assert pointers(copy) == place
    assert (copy["a"] == 3.0).all()


def test_an_error_in_the_body_leaves_no_copy_under_way(buffers):
    with pytest.raises(RuntimeError, match="torn"), buffers.copying({"a": torch.ones(10)}):
        raise RuntimeError("torn")

    assert buffers.snapshot({"a": torch.full((10,), 2.0)})["a"].sum() == 20


def test_a_copy_without_tensors_needs_no_memory(buffers):
    assert buffers.snapshot({"a": 1}) == {"a": 1}


def test_a_forked_process_takes_memory_of_its_own(buffers):
    # Loader workers are forked; the block is not among what they inherit.
    copy = buffers.snapshot({"a": torch.arange(1000.0)})
    child = os.fork()
    if child == 0:
        os._exit(int(buffers.snapshot({"a": torch.ones(1000)})["a"].sum().item() != 1000))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert torch.equal(copy["a"], torch.arange(1000.0))


def test_tensors_elsewhere_are_told_from_those_on_the_host():
    assert is_on_host({"a": torch.ones(1), "b": [1, "x"]})
    assert not is_on_host({"a": {"b": torch.ones(1, device="meta")}})
