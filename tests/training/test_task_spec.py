import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.task_spec import IMAGENET_MEAN, IMAGENET_STD, TaskSpec

channels = st.shared(st.integers(1, 4), key="channels")
unit = st.floats(0.01, 1)
specs = st.builds(
    TaskSpec,
    name=st.text(),
    modality=st.sampled_from(["text", "vision", "tabular"]),
    task_type=st.sampled_from(["", "classification", "causal_lm", "my_own"]),
    max_seq_len=st.integers(1, 10**6),
    vocab_size=st.integers(1, 10**6),
    pad_token_id=st.none() | st.integers(0, 10**6),
    padding_side=st.sampled_from(["left", "right"]),
    num_classes=st.none() | st.integers(1, 1000),
    image_size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    image_channels=channels,
    image_mean=st.none() | channels.flatmap(lambda n: st.lists(unit, min_size=n, max_size=n)),
    image_std=st.none() | channels.flatmap(lambda n: st.lists(unit, min_size=n, max_size=n)),
    feature_names=st.lists(st.text()),
)


@given(specs)
def test_a_spec_survives_json(spec):
    assert TaskSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("modality", "task_type"),
    [
        ("text", "language_modeling"),
        ("vision", "vision_classification"),
        ("tabular", "classification"),
    ],
)
def test_the_task_type_follows_from_the_modality(modality, task_type):
    assert TaskSpec(name="any", modality=modality).task_type == task_type
    assert TaskSpec(name="any", modality=modality, task_type="causal_lm").task_type == "causal_lm"


def test_the_tiny_specs_are_tasks_of_their_kind():
    text, vision = TaskSpec.language_modeling_tiny(), TaskSpec.vision_tiny()
    classes = TaskSpec.classification_tiny()
    assert (text.modality, text.task_type) == ("text", "language_modeling")
    assert (vision.modality, vision.image_size, vision.num_classes) == ("vision", (32, 32), 10)
    assert (classes.task_type, classes.num_classes) == ("classification", 2)


def test_a_spec_is_frozen_and_hashable():
    spec = TaskSpec(name="any", class_names=["a", "b"], image_mean=np.array([0.5, 0.5, 0.5]))
    assert hash(spec) == hash(TaskSpec.from_dict(spec.to_dict()))
    assert spec.class_names == ("a", "b")
    with pytest.raises(FrozenInstanceError):
        spec.name = "other"


def test_normalization_is_spelled_out_for_colour_images_without_any():
    spelled = TaskSpec.vision_tiny().with_normalization()
    assert (spelled.image_mean, spelled.image_std) == (IMAGENET_MEAN, IMAGENET_STD)
    for spec in (
        TaskSpec.language_modeling_tiny(),
        TaskSpec(name="gray", modality="vision", image_channels=1),
        TaskSpec(name="own", modality="vision", image_mean=[0, 0, 0]),
    ):
        assert spec.with_normalization() is spec


def test_an_unknown_modality_offers_the_nearest():
    with pytest.raises(UnknownNameError, match=r"modality 'txt'.*Did you mean: text\?"):
        TaskSpec(name="any", modality="txt")


def test_three_faults_are_reported_at_once():
    with pytest.raises(InvalidConfigError) as caught:
        TaskSpec(name="any", modality="visoin", max_seq_len=0, padding_side="top")
    assert caught.value.faults == [
        "max_seq_len is 0, allowed is a whole number from 1 up.",
        "padding_side is 'top', allowed are 'left' and 'right'.",
        "Unknown modality 'visoin'. Available: tabular, text, vision. Did you mean: vision?",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocab_size": 1.5}, "vocab_size is 1.5, allowed is a whole number from 1 up"),
        ({"image_channels": True}, "image_channels is True"),
        ({"num_classes": 0}, "num_classes is 0, allowed is a whole number from 1 up, or None"),
        ({"num_classes": "3"}, "num_classes is '3'"),
        ({"pad_token_id": -1}, "pad_token_id is -1, allowed is a whole number from 0 up, or None"),
        ({"num_classes": 3, "class_names": ["a"]}, "class_names has 1 names and num_classes is 3"),
        ({"class_names": "cat"}, "class_names is 'cat', allowed is a list or tuple of names"),
        ({"image_size": 32}, "image_size is 32, allowed is a list or tuple of pixels"),
        ({"image_size": (32,)}, r"image_size is \(32,\), allowed is \(height, width\)"),
        ({"image_size": (32, 0)}, r"allowed is \(height, width\), each 1 or more"),
        ({"image_mean": [0.5]}, "image_mean has 1 values, allowed is one for each of 3 channels"),
        ({"image_std": [1, 0, 1]}, r"image_std is \(1, 0, 1\), allowed are numbers greater than 0"),
        ({"image_std": [1, "a", 1]}, "allowed are finite numbers"),
        ({"image_mean": [0, float("nan"), 0]}, "allowed are finite numbers"),
        ({"name": 5}, "name is 5, allowed is a string"),
        ({"task_type": None}, "task_type is None, allowed is a string"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(InvalidConfigError, match=message):
        TaskSpec(**{"name": "any", **values})


def test_unknown_fields_are_reported_with_all_other_faults():
    with pytest.raises(InvalidConfigError) as caught:
        TaskSpec.from_dict({"modalty": "text", "modality": "txt", 3: 4, "vocab_size": 0})
    faults = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 5
    assert "Unknown field 'modalty'" in faults
    assert "Did you mean: modality?" in faults
    assert "Unknown field '3'" in faults
    assert "name is missing" in faults
    assert "vocab_size is 0" in faults
    assert "Unknown modality 'txt'" in faults


def test_a_fault_of_the_modality_alone_is_reported_beside_an_unknown_field():
    with pytest.raises(InvalidConfigError, match=r"Unknown modality 'txt'"):
        TaskSpec.from_dict({"name": "any", "size": 3, "modality": "txt"})
