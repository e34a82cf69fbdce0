import pytest

from utils.training.config_builder import PRESETS, TrainingConfigBuilder
from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.training_config import TrainingConfig


@pytest.mark.parametrize(
    ("preset", "epochs", "batch_size", "learning_rate"),
    [("small", 5, 4, 5e-5), ("medium", 10, 8, 1e-4), ("large", 20, 16, 1e-4)],
)
def test_a_preset_sets_its_three_values(preset, epochs, batch_size, learning_rate):
    config = TrainingConfigBuilder().with_preset(preset).build()
    assert (config.epochs, config.batch_size, config.learning_rate) == (
        epochs,
        batch_size,
        learning_rate,
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_leaves_the_rest_at_its_default(preset):
    config = TrainingConfigBuilder().with_preset(preset).build()
    assert config == TrainingConfig(**PRESETS[preset])


def test_the_later_call_wins():
    builder = TrainingConfigBuilder().with_epochs(7).with_preset("small").with_batch_size(9)
    config = builder.build()
    assert (config.epochs, config.batch_size) == (5, 9)


def test_each_call_sets_its_own():
    config = (
        TrainingConfigBuilder()
        .with_learning_rate(1e-3)
        .with_batch_size(2)
        .with_epochs(3)
        .with_gradient_accumulation(4)
        .with_wandb("project", "run")
        .with_export_bundle(["onnx"])
        .with_values(weight_decay=0.5)
        .build()
    )
    assert config == TrainingConfig(
        learning_rate=1e-3,
        batch_size=2,
        epochs=3,
        gradient_accumulation_steps=4,
        use_wandb=True,
        wandb_project="project",
        run_name="run",
        export_bundle=True,
        export_formats=["onnx"],
        weight_decay=0.5,
    )


def test_no_project_switches_wandb_off():
    config = TrainingConfigBuilder().with_wandb("project", "run").with_wandb(None, None).build()
    assert not config.use_wandb


def test_a_builder_builds_again_and_shares_nothing():
    formats = ["onnx"]
    builder = TrainingConfigBuilder().with_export_bundle(formats)
    first = builder.build()
    formats.append("pytorch")
    first.export_formats.append("torchscript")
    assert builder.build().export_formats == ["onnx"]
    assert builder.with_epochs(2).build().epochs == 2
    assert first.epochs == TrainingConfig().epochs


def test_an_unknown_preset_offers_the_nearest():
    with pytest.raises(UnknownNameError, match=r"preset 'smal'.*Did you mean: small\?"):
        TrainingConfigBuilder().with_preset("smal")


def test_build_reports_all_faults():
    builder = TrainingConfigBuilder().with_epochs(0).with_learning_rate(-1)
    with pytest.raises(InvalidConfigError) as caught:
        builder.with_values(lr=3).with_export_bundle(["tflite"]).build()
    assert len(caught.value.faults) == 4


def test_a_string_is_no_list_of_formats():
    with pytest.raises(InvalidConfigError, match=r"export_formats"):
        TrainingConfigBuilder().with_export_bundle("onnx").build()
