"""The configuration calls that users make, as the reference shows them."""

import re

import pytest

from utils.training.config_builder import TrainingConfigBuilder
from utils.training.training_config import TrainingConfig


def full_config():
    return TrainingConfig(
        learning_rate=3e-4,
        batch_size=8,
        epochs=6,
        weight_decay=0.02,
        vocab_size=32000,
        d_model=256,
        num_layers=4,
        random_seed=7,
        deterministic=False,
        gradient_accumulation_steps=2,
        gradient_clip_norm=0.5,
        compile_mode="default",
        wandb_project="sentences",
        run_name="first",
        export_bundle=True,
        export_formats=["onnx", "torchscript"],
    )


def test_a_sound_config_validates():
    full_config().validate()


def test_a_bad_value_is_a_value_error():
    with pytest.raises(ValueError, match="learning_rate is -1"):
        TrainingConfig(learning_rate=-1).validate()


def test_a_config_is_saved_under_the_time_and_loaded():
    config = full_config()
    config_path = config.save()
    assert re.fullmatch(r"config_\d{8}_\d{6}\.json", config_path.name)
    assert TrainingConfig.load(config_path) == config


def test_a_config_goes_through_a_dict():
    config = full_config()
    config_dict = config.to_dict()
    assert config_dict["d_model"] == 256
    assert TrainingConfig.from_dict(config_dict) == config


def test_a_builder_chains():
    config = (
        TrainingConfigBuilder()
        .with_preset("small")
        .with_learning_rate(2e-5)
        .with_batch_size(6)
        .with_gradient_accumulation(4)
        .with_wandb("sentences", "second")
        .with_export_bundle(["onnx", "torchscript"])
        .build()
    )
    assert (config.epochs, config.batch_size, config.learning_rate) == (5, 6, 2e-5)
    assert (config.use_wandb, config.wandb_project, config.run_name) == (
        True,
        "sentences",
        "second",
    )
    assert config.export_bundle


def test_the_presets_are_as_documented():
    builder = TrainingConfigBuilder()
    sizes = {
        name: (config.epochs, config.batch_size, config.learning_rate)
        for name in ("small", "medium", "large")
        for config in [builder.with_preset(name).build()]
    }
    assert sizes == {"small": (5, 4, 5e-5), "medium": (10, 8, 1e-4), "large": (20, 16, 1e-4)}


def test_a_development_config_switches_wandb_off():
    dev_config = (
        TrainingConfigBuilder().with_preset("small").with_epochs(3).with_wandb(None, None).build()
    )
    assert (dev_config.epochs, dev_config.use_wandb) == (3, False)


def test_a_production_config():
    prod_config = (
        TrainingConfigBuilder()
        .with_preset("large")
        .with_gradient_accumulation(8)
        .with_export_bundle(["onnx", "torchscript"])
        .with_wandb("production", "weekly")
        .build()
    )
    assert (prod_config.gradient_accumulation_steps, prod_config.batch_size) == (8, 16)
