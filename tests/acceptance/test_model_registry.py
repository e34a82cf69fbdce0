"""The registry's published calls, on a file as the documentation shows them."""

from __future__ import annotations

import pytest

from utils.training.model_registry import ModelRegistry


@pytest.fixture
def registry():
    with ModelRegistry("models.db") as registry:
        yield registry


def register(registry, version, **changes):
    values = {
        "name": "verse-sorter",
        "version": version,
        "checkpoint_path": "checkpoints/checkpoint_epoch0003.pt",
        "task_type": "text_classification",
        "metrics": {"val_loss": 0.71, "accuracy": 0.72},
        "config_hash": "9f2c",
        "training_run_id": 42,
        "parent_model_id": None,
        "export_formats": ["onnx", "torchscript"],
        "model_size_mb": 12.5,
        "metadata": {"notes": "first try"},
    }
    return registry.register_model(**values | changes)


def test_register_promote_get(registry):
    model_id = register(registry, "1.0.0")
    assert isinstance(model_id, int)
    registry.promote_model(model_id, "production")
    model = registry.get_model(model_id=model_id)
    assert model == registry.get_model(tag="production")
    assert (model.name, model.version, model.tag) == ("verse-sorter", "1.0.0", "production")
    assert model.metrics == {"val_loss": 0.71, "accuracy": 0.72}
    assert model.export_formats == ["onnx", "torchscript"]
    assert model.metadata == {"notes": "first try"}
    assert (model.config_hash, model.training_run_id, model.parent_model_id) == ("9f2c", 42, None)


@pytest.mark.parametrize("tag", ["production", "staging", "experimental", "retired"])
def test_every_tag_can_be_given(registry, tag):
    model_id = register(registry, "1.0.0")
    registry.promote_model(model_id, tag)
    assert registry.get_model(tag=tag).model_id == model_id


def test_compare_models(registry):
    ids = [register(registry, f"1.{n}.0", metrics={"val_loss": 0.7 - n / 10}) for n in range(3)]
    comparison = registry.compare_models(ids)
    columns = comparison[["version", "val_loss", "model_size_mb"]]
    assert columns.values.tolist() == [
        ["1.0.0", 0.7, 12.5],
        ["1.1.0", pytest.approx(0.6), 12.5],
        ["1.2.0", pytest.approx(0.5), 12.5],
    ]


def test_a_comparison_names_ids_that_have_no_model_yet(registry, caplog):
    register(registry, "1.0.0")
    comparison = registry.compare_models([1, 2, 3])
    assert comparison[["version", "val_loss", "model_size_mb"]].values.tolist() == [
        ["1.0.0", 0.71, 12.5]
    ]
    assert "There is no model 2, 3" in caplog.text


def test_a_file_keeps_its_models(registry):
    model_id = register(registry, "1.0.0")
    registry.close()
    with ModelRegistry("models.db") as again:
        assert again.get_model(model_id=model_id).version == "1.0.0"
        assert again.get_model(model_id=model_id + 1) is None
