"""The data calls that users make, as the reference shows them."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from utils.training.engine import (
    CollatorRegistry,
    DataLoaderConfig,
    DataLoaderFactory,
    LanguageModelingDataCollator,
    Trainer,
    UniversalDataModule,
    VisionDataCollator,
)
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

SENTENCES = [{"input_ids": list(range(1, 3 + n % 7))} for n in range(70)]
PICTURES = TensorDataset(torch.rand(70, 3, 32, 32), torch.arange(70) % 10)


class Padder:
    """As much of a tokenizer as a collator needs."""

    pad_token_id = 500
    eos_token_id = 499
    padding_side = "left"
    model_max_length = 64


def test_a_factory_makes_a_loader_for_a_task():
    task_spec = TaskSpec(name="sentences", modality="text", max_seq_len=512)
    factory = DataLoaderFactory()
    loader = factory.create(
        dataset=SENTENCES, batch_size=32, shuffle=True, task_spec=task_spec, random_seed=42
    )
    assert isinstance(loader, DataLoader)
    batches = list(loader)
    assert [len(batch["input_ids"]) for batch in batches] == [32, 32, 6]
    assert sorted(batches[0]) == ["attention_mask", "input_ids", "labels"]


def test_a_factory_takes_every_setting():
    task_spec = TaskSpec.language_modeling_tiny()
    settings = {"dataset": SENTENCES, "batch_size": 32, "shuffle": True, "task_spec": task_spec}
    loader = DataLoaderFactory().create(
        **settings,
        collator_name=None,
        num_workers=4,
        pin_memory=True,
        drop_last=False,
        random_seed=42,
    )
    alone = DataLoaderFactory().create(**settings, num_workers=0, random_seed=42)
    for there, here in zip(loader, alone, strict=True):
        assert torch.equal(there["input_ids"], here["input_ids"])


def test_a_config_has_the_documented_defaults():
    config = DataLoaderConfig()
    assert (config.batch_size, config.shuffle, config.num_workers) == (32, True, 0)
    assert (config.pin_memory, config.drop_last) == (True, False)
    assert (config.collator_name, config.random_seed) == (None, 42)


def test_pictures_are_normalised_in_validation_order():
    task_spec = TaskSpec.vision_tiny()
    val_loader = DataLoaderFactory().create(
        dataset=PICTURES, batch_size=64, shuffle=False, task_spec=task_spec
    )
    batch = next(iter(val_loader))
    assert batch["pixel_values"].shape == (64, 3, 32, 32)
    assert batch["pixel_values"].min() < -1
    assert batch["labels"].tolist() == PICTURES.tensors[1][:64].tolist()


def test_a_registry_finds_and_lists_collators():
    registry = CollatorRegistry.get_instance()
    text = registry.get_collator(task_spec=TaskSpec(name="sentences", modality="text"))
    assert isinstance(text, LanguageModelingDataCollator)
    vision = registry.get_collator(task_spec=TaskSpec.vision_tiny())
    assert isinstance(vision, VisionDataCollator)
    named = registry.get_collator(collator_name="text", tokenizer=Padder())
    assert named([{"input_ids": [1]}, {"input_ids": [2, 3]}])["input_ids"].tolist() == [
        [500, 1],
        [2, 3],
    ]
    listed = {
        f"{info.name} ({info.modality}): {info.description}" for info in registry.list_collators()
    }
    assert "text (text): Text collator with dynamic padding" in listed
    assert "vision (vision): Vision collator with normalization" in listed
    assert "default (any): HuggingFace default collator" in listed


def test_a_collator_of_ones_own_is_registered_by_a_decorator():
    registry = CollatorRegistry.get_instance()

    class Counter:
        def __init__(self, tokenizer):
            self.tokenizer = tokenizer

        def __call__(self, samples):
            return {"count": len(samples), "pad": self.tokenizer.pad_token_id}

    @registry.register("counter", modality="text", description="Counts its samples", overwrite=True)
    def create_counter(tokenizer, **kwargs):
        return Counter(tokenizer)

    collator = registry.get_collator(collator_name="counter", tokenizer=Padder())
    assert collator(SENTENCES) == {"count": 70, "pad": 500}
    loader = DataLoaderFactory().create(
        SENTENCES, batch_size=35, collator_name="counter", tokenizer=Padder()
    )
    assert [batch["count"] for batch in loader] == [35, 35]


def test_a_data_module_feeds_a_trainer():
    task_spec = TaskSpec.vision_tiny()
    data_module = UniversalDataModule(
        train_dataset=PICTURES,
        val_dataset=TensorDataset(*(tensor[:20] for tensor in PICTURES.tensors)),
        task_spec=task_spec,
        batch_size=32,
        num_workers=2,
        random_seed=42,
    )
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    config = TrainingConfig(epochs=1, progress_bar=False)
    trainer = Trainer(model=model, config=None, training_config=config, task_spec=task_spec)
    results = trainer.train(
        train_data=data_module.train_dataloader(), val_data=data_module.val_dataloader()
    )
    assert results["best_epoch"] is not None
    assert results["checkpoint_path"].exists()
