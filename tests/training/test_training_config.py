import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.training.errors import InvalidConfigError
from utils.training.training_config import EXPORT_FORMATS, TrainingConfig

VALUES = {
    "learning_rate": st.floats(1e-8, 10),
    "batch_size": st.integers(1, 10**6),
    "epochs": st.integers(1, 1000),
    "max_steps": st.none() | st.integers(1, 10**9),
    "dropout": st.floats(0, 0.99),
    "random_seed": st.integers(0, 2**32 - 1),
    "deterministic": st.booleans(),
    "optimizer": st.sampled_from(["adamw", "sgd", "adafactor"]),
    "gradient_clip_norm": st.none() | st.floats(1e-3, 1e3),
    "ema_decay": st.none() | st.floats(0.5, 0.9999),
    "early_stopping_min_delta": st.floats(0, 1e300),
    "mixed_precision": st.sampled_from([None, "bf16", "fp16"]),
    "run_name": st.none() | st.text(),
    "notes": st.text(),
    "export_formats": st.lists(st.sampled_from(EXPORT_FORMATS), min_size=1),
    "drift_threshold_warning": st.floats(0.001, 0.199),
}
configs = st.fixed_dictionaries({}, optional=VALUES).map(lambda values: TrainingConfig(**values))


@given(configs)
def test_any_sound_config_survives_a_dict_and_json(config):
    config.validate()
    assert TrainingConfig.from_dict(config.to_dict()) == config
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(config=configs)
def test_any_sound_config_survives_a_file(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.json"
    assert config.save(path) == path
    loaded = TrainingConfig.load(path)
    assert loaded == config
    loaded.validate()


def test_the_defaults_are_sound():
    TrainingConfig().validate()


def test_the_automatic_file_is_named_by_its_time():
    path = TrainingConfig(epochs=3).save()
    assert re.fullmatch(r"config_\d{8}_\d{6}\.json", path.name)
    assert path.resolve().parent == Path.cwd()
    assert TrainingConfig.load(path).epochs == 3
    assert [file.name for file in Path.cwd().iterdir()] == [path.name]


def test_a_folder_is_made_for_the_file(tmp_path):
    path = TrainingConfig().save(tmp_path / "runs" / "first" / "config.json")
    assert TrainingConfig.load(str(path)) == TrainingConfig()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = TrainingConfig().save(tmp_path / "config.json")
    with pytest.raises(InvalidConfigError, match="notes is <object object"):
        TrainingConfig(notes=object()).save(path)
    assert TrainingConfig.load(path) == TrainingConfig()
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[1]", "holds a list, allowed is a JSON object"),
        (b'{"epoch": 3}', r"Unknown field 'epoch'.*Did you mean: epochs\?"),
    ],
)
def test_a_file_that_holds_no_config_is_refused(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InvalidConfigError, match=message):
        TrainingConfig.load(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        TrainingConfig.load(tmp_path / "none.json")


def test_three_faults_are_reported_at_once():
    with pytest.raises(InvalidConfigError) as caught:
        TrainingConfig(learning_rate=-1, batch_size=0, optimizer="adam").validate()
    assert caught.value.faults == [
        "learning_rate is -1, allowed is greater than 0.",
        "batch_size is 0, allowed is at least 1.",
        "optimizer is 'adam', allowed is 'adamw' or 'sgd' or 'adafactor'.",
    ]
    assert str(caught.value).startswith("Invalid configuration, 3 faults:\n- learning_rate")


def test_faults_between_fields_are_reported_beside_faults_of_fields():
    config = TrainingConfig(
        epochs=0, drift_threshold_warning=0.5, export_formats=["tflite"], config_version="3.2"
    )
    with pytest.raises(InvalidConfigError) as caught:
        config.validate()
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "epochs",
        "drift_threshold_warning",
        "export_formats",
        "config_version",
    ]


def test_a_field_at_fault_is_not_blamed_twice():
    config = TrainingConfig(drift_threshold_warning=-1, export_formats="onnx", export_bundle=True)
    with pytest.raises(InvalidConfigError) as caught:
        config.validate()
    assert len(caught.value.faults) == 2


def test_unknown_fields_are_reported_with_all_other_faults():
    with pytest.raises(InvalidConfigError) as caught:
        TrainingConfig.from_dict({"lerning_rate": 1, 5: 1, "epochs": 0, "dropout": 1})
    faults = caught.value.faults
    assert len(faults) == 4
    assert "Unknown field 'lerning_rate'" in faults[0]
    assert faults[0].endswith("Did you mean: learning_rate?")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": math.nan}, "learning_rate is nan, allowed is a finite number"),
        ({"learning_rate": math.inf}, "learning_rate is inf, allowed is a finite number"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', allowed is a number"),
        ({"batch_size": 2.5}, "batch_size is 2.5, allowed is a whole number"),
        ({"batch_size": True}, "batch_size is True, allowed is a whole number"),
        ({"deterministic": 1}, "deterministic is 1, allowed is True or False"),
        ({"max_steps": 0}, "max_steps is 0, allowed is at least 1"),
        ({"run_name": 5}, "run_name is 5, allowed is a string or None"),
        ({"dropout": 1}, "dropout is 1, allowed is at least 0 and less than 1"),
        ({"export_formats": [1]}, r"export_formats is \[1\], allowed is a list of strings"),
        ({"export_bundle": True, "export_formats": []}, "needs at least one format"),
        ({"mixed_precision": "fp8"}, "allowed is 'bf16' or 'fp16' or None"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(InvalidConfigError, match=message):
        TrainingConfig(**values).validate()


@given(st.data())
def test_every_bound_of_every_field_holds(data):
    bounded = [field for field in fields(TrainingConfig) if field.metadata]
    field = data.draw(st.sampled_from(bounded))
    outside = {
        "gt": lambda bound: bound,
        "ge": lambda bound: bound - 1,
        "lt": lambda bound: bound,
        "le": lambda bound: bound + 1,
    }
    key = data.draw(st.sampled_from(sorted(field.metadata)))
    config = TrainingConfig(**{field.name: outside[key](field.metadata[key])})
    with pytest.raises(InvalidConfigError, match=f"{field.name} is "):
        config.validate()


@given(st.sampled_from(fields(TrainingConfig)))
def test_no_field_takes_an_object_of_any_type(field):
    with pytest.raises(InvalidConfigError, match=f"{field.name} is "):
        TrainingConfig(**{field.name: object()}).validate()


def test_a_dict_shares_nothing_with_its_config():
    config = TrainingConfig()
    values = config.to_dict()
    copy = TrainingConfig.from_dict(values)
    values["export_formats"].append("pytorch")
    assert config.export_formats == copy.export_formats == ["onnx", "torchscript"]


def test_every_field_is_plain():
    for field in fields(TrainingConfig):
        assert get_origin(field.type) is None or get_args(field.type)
        json.dumps(getattr(TrainingConfig(), field.name))
