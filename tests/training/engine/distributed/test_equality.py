"""Several ranks do what one process does, and go on from each other's checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from onnxruntime import InferenceSession
from safetensors.torch import load_file

from tests.training.engine.distributed import worker
from tests.training.engine.distributed.launching import order, result, step_checkpoint
from utils.training.engine import CheckpointManager
from utils.training.engine.checkpoint.weights import export_checkpoint
from utils.training.engine.distributed.blueprint import blueprint_of, whole_model


def assert_same_weights(one, other, tolerance=1e-6):
    assert one["weights"].keys() == other["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, other["weights"][name], rtol=0, atol=tolerance)


def assert_same_metrics(one, other, tolerance=1e-6):
    assert one["metrics"].keys() == other["metrics"].keys()
    for name, values in one["metrics"].items():
        assert values == pytest.approx(other["metrics"][name], rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_with_uneven_data_equal_one_process_with_their_batches_together(
    runs, num_ranks, strategy
):
    folder = {2: runs.two, 4: runs.four}[num_ranks] / strategy
    alone = result(runs.alone)
    for rank in range(num_ranks):
        assert_same_weights(alone, result(folder, rank))
    assert_same_metrics(alone, result(folder))
    assert result(folder)["step"] == alone["step"]


@pytest.mark.parametrize("after", ["ddp", "fsdp"])
@pytest.mark.parametrize("before", ["ddp", "fsdp"])
def test_two_ranks_go_on_from_the_middle_of_an_epoch_of_four(runs, before, after):
    resumed = result(runs.two / f"{before}-{after}")
    assert_same_weights(result(runs.alone), resumed)
    assert_same_metrics(result(runs.alone), resumed, 1e-5)


@pytest.mark.parametrize("before", ["ddp", "fsdp"])
def test_one_process_goes_on_from_four_ranks(runs, before, tmp_path):
    path = step_checkpoint(runs.four / f"half-{before}")
    worker.run(order(tmp_path, 1, resume_from=str(path)))
    assert_same_weights(result(runs.alone), result(tmp_path))
    assert_same_metrics(result(runs.alone), result(tmp_path), 1e-5)


def test_a_sharded_checkpoint_loads_whole_and_exports_to_one_file(runs, tmp_path):
    folder = runs.four / "fsdp" / "checkpoints"
    state = CheckpointManager(folder).load(folder / "checkpoint_epoch0001.pt", restore_rng=False)
    trained = result(runs.four / "fsdp")
    exported = load_file(
        export_checkpoint(folder / "checkpoint_epoch0001.pt", tmp_path / "model.safetensors")
    )
    for name, weight in trained["weights"].items():
        assert torch.equal(weight, state["model_state_dict"][name])
        assert torch.equal(weight, exported[name])


def test_a_bundle_of_shards_answers_as_the_best_weights_do(runs):
    exported = result(runs.two / "exported")
    assert exported["export_path"] == result(runs.two / "exported", rank=1)["export_path"]
    model = worker.Net().eval()
    model.load_state_dict(load_file(exported["weights_path"]))
    (path,) = Path(exported["export_path"]).glob("**/*.onnx")
    rows = worker.Samples(16).rows
    (answers,) = InferenceSession(path).run(["logits"], {"x": rows.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(answers), model(rows), rtol=0, atol=1e-5)


def test_a_blueprint_takes_no_memory_and_keeps_ties_and_buffers():
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3)
    )
    model[2].weight = model[0].weight
    model[1].register_buffer("scale", torch.tensor(2.0), persistent=False)
    blueprint = blueprint_of(model)
    assert all(parameter.is_meta for parameter in blueprint.parameters())
    weights = {name: torch.full_like(weight, 3) for name, weight in model.state_dict().items()}
    whole = whole_model(blueprint, weights)
    assert whole[0].weight is whole[2].weight
    assert whole[0].weight.eq(3).all()
    assert whole[1].scale == 2
    assert not model[0].weight.eq(3).any()


def test_a_damaged_shard_is_not_taken_for_a_whole_checkpoint(runs, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(runs.four / "fsdp" / "checkpoints", folder)
    shard = next(iter(folder.glob("checkpoint_epoch0001.*.shards/__2_*")))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert CheckpointManager(folder).latest() == folder / "checkpoint_epoch0000.pt"


def test_shards_go_with_their_checkpoint(runs):
    folder = runs.four / "fsdp" / "checkpoints"
    assert len(list(folder.glob("*.shards"))) == len(list(folder.glob("*.pt")))
