"""Weights as safetensors."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_model
from torch import nn

from utils.training.engine.checkpoint import weights
from utils.training.engine.checkpoint.weights import export_safetensors


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.turned = nn.Parameter(torch.randn(3, 4).T)
        self.register_buffer("steps", torch.tensor(7))


def test_tied_and_turned_weights_come_back(tmp_path):
    model, fresh = Tied(), Tied()
    path = export_safetensors(model, str(tmp_path / "new" / "model.safetensors"))

    assert path == tmp_path / "new" / "model.safetensors"
    missing, unexpected = load_model(fresh, path)
    assert (missing, unexpected) == (set(), [])
    for name, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)
    assert not model.turned.is_contiguous()  # the model stays as it was
    assert fresh.head.weight is fresh.embedding.weight


def test_tied_weights_are_stored_once_under_the_usual_header(tmp_path):
    path = export_safetensors(Tied(), tmp_path / "model.safetensors")

    with safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == ["embedding.weight", "steps", "turned"]
        assert file.metadata() == {"format": "pt", "head.weight": "embedding.weight"}


def test_the_file_is_readable_like_any_other_new_file(tmp_path):
    other = tmp_path / "other"
    other.touch()
    path = export_safetensors(nn.Linear(2, 2), tmp_path / "model.safetensors")

    assert path.stat().st_mode == other.stat().st_mode


def test_a_failed_export_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = export_safetensors(nn.Linear(2, 2), tmp_path / "model.safetensors")
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_model", fail)
    with pytest.raises(OSError, match="No space"):
        export_safetensors(nn.Linear(2, 2), path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
