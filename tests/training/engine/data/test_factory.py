import pytest
import torch
from datasets import Dataset as HuggingFaceDataset
from datasets import DatasetDict
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from utils.training.engine.data import (
    DataLoaderConfig,
    DataLoaderFactory,
    ResumableDataLoader,
    VisionDataCollator,
)
from utils.training.errors import InvalidConfigError
from utils.training.task_spec import TaskSpec

TEXT = TaskSpec.language_modeling_tiny()
TOKENS = [{"input_ids": list(range(1, 2 + n % 5))} for n in range(11)]


class Stream(IterableDataset):
    def __iter__(self):
        yield from ({"x": n} for n in range(7))


@pytest.fixture
def factory():
    return DataLoaderFactory()


def test_the_task_chooses_the_collator(factory):
    batch = next(iter(factory.create(TOKENS, batch_size=4, shuffle=False, task_spec=TEXT)))
    assert batch["input_ids"].shape == batch["labels"].shape == (4, 4)


def test_what_is_left_out_comes_from_the_config(factory):
    config = DataLoaderConfig(batch_size=3, drop_last=True, shuffle=False, collator_name="text")
    loader = factory.create(TOKENS, config=config)
    assert (loader.batch_size, loader.drop_last, len(loader)) == (3, True, 3)
    assert next(iter(loader))["labels"][0].tolist() == [1, -100, -100]
    assert factory.create(TOKENS, batch_size=5, config=config, task_spec=TEXT).batch_size == 5


def test_the_defaults_are_those_of_the_config(factory):
    loader = factory.create([{"x": n} for n in range(100)])
    assert loader.batch_size == 32
    order = [batch["x"].tolist() for batch in loader]
    assert order[0] != list(range(32))


def test_the_same_seed_gives_the_same_batches(factory):
    def order(seed):
        return [
            b["x"].tolist()
            for b in factory.create([{"x": n} for n in range(40)], 8, True, random_seed=seed)
        ]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_a_tokenizer_reaches_the_text_collator_and_hurts_no_other(factory):
    class Tokenizer:
        pad_token_id = 99
        eos_token_id = 1

    loader = factory.create(TOKENS, 2, False, TEXT, tokenizer=Tokenizer())
    assert 99 in next(iter(loader))["input_ids"]
    images = TensorDataset(torch.rand(4, 3, 2, 2), torch.arange(4))
    vision = factory.create(images, task_spec=TaskSpec.vision_tiny(), tokenizer=Tokenizer())
    assert next(iter(vision))["pixel_values"].shape == (4, 3, 2, 2)


def test_a_collator_of_your_own_wins(factory):
    assert next(iter(factory.create(TOKENS, 4, task_spec=TEXT, collate_fn=len))) == 4


def test_hugging_face_datasets_load_in_any_format(factory):
    data = HuggingFaceDataset.from_dict(
        {"input_ids": [sample["input_ids"] for sample in TOKENS], "text": ["words"] * 11}
    )
    plain, torch_format = (
        list(factory.create(rows, 4, task_spec=TEXT))
        for rows in (data, data.with_format("torch", columns=["input_ids"]))
    )
    for ours, theirs in zip(plain, torch_format, strict=True):
        assert torch.equal(ours["input_ids"], theirs["input_ids"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_hugging_face_transform_draws_the_same_in_any_process(factory, num_workers):
    data = HuggingFaceDataset.from_dict({"n": list(range(20))})
    noisy = data.with_transform(lambda rows: {"x": torch.rand(len(rows["n"]), 2)})
    batches = list(factory.create(noisy, 4, num_workers=num_workers))
    expected = list(factory.create(noisy, 4))
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(batches, expected, strict=True))


def test_an_iterable_dataset_gets_a_plain_loader(factory, caplog):
    loader = factory.create(Stream(), batch_size=4, num_workers=0)
    assert type(loader) is DataLoader
    assert [batch["x"].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6]]
    assert not caplog.records
    factory.create(Stream(), batch_size=4, shuffle=True)
    assert "shuffle=True has no effect on an iterable dataset" in caplog.text


def test_a_hugging_face_stream_loads_too(factory):
    stream = HuggingFaceDataset.from_dict({"x": list(range(5))}).to_iterable_dataset()
    assert [b["x"].tolist() for b in factory.create(stream, 3)] == [[0, 1, 2], [3, 4]]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_pinning_is_silently_off_without_cuda(factory, caplog):
    loader = factory.create(TOKENS, task_spec=TEXT, pin_memory=True)
    assert not loader.pin_memory
    assert len(list(loader)) == 1
    assert not caplog.records


def test_a_rank_takes_its_part(factory):
    parts = [
        factory.create(
            [{"x": n} for n in range(10)], 2, config=DataLoaderConfig(rank=rank, world_size=2)
        )
        for rank in range(2)
    ]
    assert sorted(n for part in parts for b in part for n in b["x"].tolist()) == list(range(10))


def test_all_faults_are_listed(factory):
    with pytest.raises(InvalidConfigError) as caught:
        factory.create(TOKENS, batch_size=0, num_workers=-1, random_seed=1.5)
    assert len(caught.value.faults) == 3
    assert "- batch_size is 0, allowed is a whole number from 1 up." in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 2, "world_size": 2}, "rank is 2, allowed is less than world_size"),
        ({"prefetch_factor": 0}, "prefetch_factor is 0"),
        ({"batch_size": True}, "batch_size is True"),
    ],
)
def test_a_config_out_of_range_is_refused(settings, message):
    with pytest.raises(InvalidConfigError, match=message):
        DataLoaderConfig(**settings).validate()


def test_unsuitable_datasets_are_one_sentence(factory):
    with pytest.raises(ValueError, match="The dataset is empty"):
        factory.create([], task_spec=TEXT)
    with pytest.raises(TypeError, match="no order to draw by index"):
        factory.create((n for n in range(3)), task_spec=TEXT)
    splits = DatasetDict(train=HuggingFaceDataset.from_dict({"x": [1]}))
    with pytest.raises(TypeError, match="DatasetDict with the keys train; give one of its parts"):
        factory.create(splits)
    with pytest.raises(ValueError, match=r"Unknown collator 'txt'.*Did you mean: text"):
        factory.create(TOKENS, collator_name="txt")


def test_the_loader_is_resumable_and_normalises_images(factory):
    images = TensorDataset(torch.rand(4, 3, 2, 2), torch.arange(4))
    loader = factory.create(images, task_spec=TaskSpec.vision_tiny())
    assert isinstance(loader, ResumableDataLoader)
    assert isinstance(loader.collate_fn, VisionDataCollator)
