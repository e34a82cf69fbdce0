import pytest

from utils.training.engine.data import (
    CollatorInfo,
    CollatorRegistry,
    DefaultCollator,
    LanguageModelingDataCollator,
    VisionDataCollator,
)
from utils.training.errors import UnknownNameError
from utils.training.task_spec import TaskSpec


@pytest.fixture
def registry():
    return CollatorRegistry()


def test_the_built_in_collators_are_listed(registry):
    assert [(info.name, info.modality) for info in registry.list_collators()] == [
        ("text", "text"),
        ("vision", "vision"),
        ("default", "any"),
    ]
    assert all(info.description for info in registry.list_collators())


@pytest.mark.parametrize(
    ("modality", "kind"),
    [
        ("text", LanguageModelingDataCollator),
        ("vision", VisionDataCollator),
        ("tabular", DefaultCollator),
    ],
)
def test_the_modality_chooses(registry, modality, kind):
    task_spec = TaskSpec(name="any", modality=modality)
    assert type(registry.get_collator(task_spec=task_spec)) is kind
    assert type(registry.get_collator(task_spec, tokenizer=None)) is kind


def test_the_task_reaches_the_collator(registry):
    collator = registry.get_collator(TaskSpec(name="short", max_seq_len=7, padding_side="left"))
    assert (collator.max_seq_len, collator.padding_side) == (7, "left")


def test_a_name_wins_over_the_modality(registry):
    collator = registry.get_collator(task_spec=TaskSpec.vision_tiny(), collator_name="default")
    assert isinstance(collator, DefaultCollator)


def test_without_task_and_name_the_default_comes(registry):
    assert isinstance(registry.get_collator(), DefaultCollator)


def test_a_registered_factory_gets_the_keywords(registry):
    @registry.register("marked", modality="text", description="Marks its batches")
    def make(tokenizer, **kwargs):
        return lambda samples: (tokenizer, kwargs, samples)

    collator = registry.get_collator(collator_name="marked", tokenizer="t", mark=1)
    assert collator([5]) == ("t", {"mark": 1}, [5])
    assert registry.list_collators()[-1] == CollatorInfo("marked", "text", "Marks its batches")


def test_a_collator_named_like_a_modality_is_chosen_for_it(registry):
    registry.register("tabular", modality="tabular")(lambda: list)
    assert registry.get_collator(TaskSpec(name="rows", modality="tabular")) is list


def test_a_name_is_taken_once_unless_overwritten(registry):
    with pytest.raises(ValueError, match="'text' is registered already"):
        registry.register("text")(dict)
    registry.register("text", overwrite=True)(lambda: list)
    assert registry.get_collator(TaskSpec.language_modeling_tiny()) is list


def test_an_unknown_name_offers_the_nearest(registry):
    with pytest.raises(UnknownNameError, match=r"Unknown collator 'vison'.*Did you mean: vision"):
        registry.get_collator(collator_name="vison")


def test_one_registry_is_shared():
    assert CollatorRegistry.get_instance() is CollatorRegistry.get_instance()
