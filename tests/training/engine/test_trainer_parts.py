"""What a run stands on: precision, compilation, activation checkpointing, profiles, former runs."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from utils.training.engine.activation_checkpointing import activation_checkpointing, find_blocks
from utils.training.engine.compilation import compiled
from utils.training.engine.precision import create_precision
from utils.training.engine.profiling import profiling
from utils.training.engine.run.former_runs import set_aside_newer
from utils.training.engine.run.state import TrainerState
from utils.training.errors import InvalidConfigError

CPU = torch.device("cpu")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.5)
        self.num_calls = 0

    def forward(self, x):
        self.num_calls += 1
        return x + self.dropout(self.inner(x))


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def gradients(model):
    torch.manual_seed(1)
    model.zero_grad()
    model(torch.ones(4, 8)).square().mean().backward()
    return [p.grad.clone() for p in model.parameters()]


def test_full_precision_needs_no_scaler():
    precision = create_precision(None, CPU)
    assert precision.scaler is None
    with precision.autocast:
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.parametrize(("mode", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_autocast_can_be_entered_again_and_again(mode, dtype):
    precision = create_precision(mode, CPU)
    for _ in range(2):
        with precision.autocast:
            assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    assert (precision.scaler is None) == (mode == "bf16")


def test_checkpointed_blocks_give_the_same_gradients_and_run_twice():
    model = Blocks()
    expected = gradients(model)
    calls = model.blocks[0].num_calls
    with activation_checkpointing(model, True):
        found = gradients(model)
    assert model.blocks[0].num_calls == calls + 2
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)


def test_blocks_are_as_they_were_afterwards():
    model = Blocks()
    keys = list(model.state_dict())
    with activation_checkpointing(model, True):
        assert list(model.state_dict()) == keys
    assert all("forward" not in vars(block) for block in model.blocks)


def test_nothing_is_recomputed_without_gradients():
    model = Blocks().eval()
    with activation_checkpointing(model, True), torch.no_grad():
        model(torch.ones(1, 8))
    assert model.blocks[0].num_calls == 1


def test_a_model_without_blocks_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with (
        pytest.raises(InvalidConfigError, match="no ModuleList"),
        activation_checkpointing(model, True),
    ):
        pass


def test_blocks_are_found_in_a_sequential_within_a_model():
    model = nn.ModuleDict({"body": nn.Sequential(nn.Linear(8, 8), Block(), Block())})
    assert find_blocks(model) == list(model["body"])[1:]


def test_a_hugging_face_model_does_it_by_its_own_method():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=2, n_head=2))
    with activation_checkpointing(model, True):
        assert model.is_activation_checkpointing
    assert not model.is_activation_checkpointing


def test_compilation_leaves_keys_and_is_undone():
    model = nn.Linear(2, 2)
    keys = list(model.state_dict())
    with compiled(model, "default"):
        assert list(model.state_dict()) == keys
        assert model._compiled_call_impl is not None
    assert model._compiled_call_impl is None
    with compiled(model, None):
        assert model._compiled_call_impl is None


def test_a_profile_of_a_few_steps_is_written(tmp_path):
    with profiling(True, str(tmp_path / "profiles")) as profiler:
        for _ in range(12):
            torch.ones(8, 8) @ torch.ones(8, 8)
            profiler.step()
    (trace,) = (tmp_path / "profiles").iterdir()
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert "aten::mm" in names


def test_no_profile_is_written_unless_asked(tmp_path):
    with profiling(False, str(tmp_path / "profiles")) as profiler:
        profiler.step()
    assert not (tmp_path / "profiles").exists()


def checkpoints(folder, *names):
    for name in names:
        (folder / f"checkpoint_{name}.pt").write_text(name)
    return {path.name for path in folder.glob("*.pt")}


def test_a_fresh_run_moves_all_old_checkpoints_aside(tmp_path):
    names = checkpoints(tmp_path, "epoch0000", "epoch0001_step00000007")
    moved = set_aside_newer(tmp_path, None)
    assert not list(tmp_path.glob("*.pt"))
    assert {path.name for path in moved.iterdir()} == names


def test_a_run_that_goes_back_moves_only_what_is_newer(tmp_path):
    checkpoints(tmp_path, "epoch0001", "epoch0002_step00000030", "epoch0002", "epoch0003")
    set_aside_newer(tmp_path, tmp_path / "checkpoint_epoch0002_step00000030.pt")
    left = {path.name for path in tmp_path.glob("*.pt")}
    assert left == {"checkpoint_epoch0001.pt", "checkpoint_epoch0002_step00000030.pt"}


def test_a_run_that_goes_on_from_elsewhere_moves_all(tmp_path):
    (tmp_path / "here").mkdir()
    checkpoints(tmp_path / "here", "epoch0001")
    assert set_aside_newer(tmp_path / "here", tmp_path / "checkpoint_epoch0005.pt") is not None


def test_an_empty_folder_stays_empty(tmp_path):
    assert set_aside_newer(tmp_path, None) is None
    assert not list(tmp_path.iterdir())


def test_nan_is_never_best_and_a_tie_goes_to_the_later_epoch():
    state = TrainerState()
    best = []
    for value in (math.nan, 0.5, 0.5, math.nan, 0.6):
        best.append(state.take_if_best(value, "min"))
        state.begin_next_epoch()
    assert best == [False, True, True, False, False]
    assert (state.best_epoch, state.best_value) == (2, 0.5)


def test_more_is_better_in_max_mode():
    state = TrainerState()
    assert state.take_if_best(0.1, "max")
    assert not state.take_if_best(0.05, "max")


def test_a_state_survives_its_dict_and_ignores_fields_of_a_newer_version():
    state = TrainerState(epoch=2, batch=5, best_epoch=1, best_value=0.25)
    values = {**state.to_dict(), "final_loss": 1.0, "of_the_future": 1}
    assert TrainerState.from_dict(values).to_dict() == {**state.to_dict(), "final_loss": 1.0}
