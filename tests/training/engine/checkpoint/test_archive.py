"""What torch.save writes, laid out before the tensors hold their values."""

from __future__ import annotations

import io
import threading

import pytest
import torch

from tests.waiting import wait_until
from utils.training.engine.checkpoint.archive import Archive
from utils.training.engine.checkpoint.direct_io import ALIGNMENT_BYTES


def load(archive, path, **options):
    path.write_bytes(b"".join(archive.pieces))
    return torch.load(path, weights_only=True, **options)


@pytest.mark.parametrize("options", [{}, {"mmap": True}])
def test_torch_loads_any_state(tmp_path, options):
    weight = torch.randn(64, 100)
    state = {
        "weight": weight,
        "tied": weight,
        "turned": weight.T,
        "part": weight[3:5, 7],
        "scalar": torch.tensor(2.5),
        "header's length": torch.arange(30, dtype=torch.uint8),
        "half": torch.randn(33).bfloat16(),
        "flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 4),
        "nested": [{"epoch": 3, "name": "ä"}, (1.5, None)],
    }
    loaded = load(Archive(state), tmp_path / "state.pt", **options)

    assert list(loaded) == list(state)
    assert loaded["nested"] == state["nested"]
    for name in [name for name in state if name != "nested"]:
        assert torch.equal(loaded[name], state[name])
        assert loaded[name].stride() == state[name].stride()
    loaded["weight"][3, 7] = 9
    assert loaded["tied"][3, 7] == loaded["turned"][7, 3] == loaded["part"][0] == 9


def test_tensors_that_are_no_plain_views_are_in_it(tmp_path):
    state = {"sparse": torch.eye(300).to_sparse(), "conjugate": torch.tensor([1 + 2j]).conj()}
    loaded = load(Archive(state), tmp_path / "state.pt")

    assert torch.equal(loaded["sparse"].to_dense(), torch.eye(300))
    assert loaded["conjugate"].tolist() == [1 - 2j]


def test_a_tensor_may_get_its_values_after_the_layout(tmp_path):
    state = {"large": torch.zeros(100_000), "small": torch.zeros(3), "step": torch.tensor(0)}
    archive = Archive(state)
    state["large"].fill_(1)
    state["small"].fill_(2)
    state["step"].fill_(3)
    loaded = load(archive, tmp_path / "state.pt")

    assert loaded["large"].sum() == 100_000
    assert loaded["small"].tolist() == [2, 2, 2]
    assert loaded["step"] == 3


def test_every_tensor_begins_where_a_disk_can_take_it_from(tmp_path):
    state = {str(size): torch.zeros(size) for size in (1, 5, 1024, 1025, 70_000)}
    loaded = load(Archive(state), tmp_path / "state.pt", mmap=True)

    assert [tensor.data_ptr() % ALIGNMENT_BYTES for tensor in loaded.values()] == [0] * 5


def test_the_archive_keeps_what_it_was_made_of(tmp_path):
    archive = Archive({"weight": torch.full((100_000,), 4.0)})

    assert load(archive, tmp_path / "state.pt")["weight"].sum() == 400_000


def test_another_threads_save_has_torchs_own_settings():
    own, ours = io.BytesIO(), []
    torch.save({"a": torch.ones(10)}, own)
    before = own.getvalue()
    stop = threading.Event()

    def lay_out():
        while not stop.is_set():
            archive = Archive({"a": torch.ones(10)})
            ours.append(b"".join(archive.pieces))

    thread = threading.Thread(target=lay_out)
    thread.start()
    try:
        wait_until(lambda: ours)
        for _ in range(200):
            other = io.BytesIO()
            torch.save({"a": torch.ones(10)}, other)
            assert other.getvalue() == before
    finally:
        stop.set()
        thread.join()
    assert len(set(ours)) == 1
