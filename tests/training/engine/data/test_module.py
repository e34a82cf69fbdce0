import pytest
import torch
from datasets import Dataset as HuggingFaceDataset
from torch.utils.data import TensorDataset

from utils.training.engine.data import DataLoaderConfig, UniversalDataModule
from utils.training.task_spec import TaskSpec

ROWS = [{"x": n} for n in range(20)]


def order(loader):
    return [n for batch in loader for n in batch["x"].tolist()]


def test_training_is_shuffled_and_validation_is_not():
    module = UniversalDataModule(ROWS, ROWS[:7], batch_size=4)
    assert order(module.val_dataloader()) == list(range(7))
    shuffled = order(module.train_dataloader())
    assert shuffled != list(range(20))
    assert sorted(shuffled) == list(range(20))
    assert order(module.train_dataloader()) == shuffled


def test_without_validation_data_there_is_no_loader():
    assert UniversalDataModule(ROWS).val_dataloader() is None


def test_validation_is_whole_whatever_training_drops():
    config = DataLoaderConfig(drop_last=True)
    module = UniversalDataModule(ROWS, ROWS[:7], batch_size=6, config=config)
    assert len(order(module.train_dataloader())) == 18
    assert len(order(module.val_dataloader())) == 7


def test_the_task_chooses_the_collators():
    images = TensorDataset(torch.rand(6, 3, 2, 2), torch.arange(6))
    module = UniversalDataModule(images, images, task_spec=TaskSpec.vision_tiny(), batch_size=3)
    for loader in (module.train_dataloader(), module.val_dataloader()):
        assert next(iter(loader))["pixel_values"].shape == (3, 3, 2, 2)


def test_a_split_holds_the_same_samples_out_for_the_same_seed():
    def held_out(seed):
        module = UniversalDataModule(ROWS, val_split=0.25, random_seed=seed)
        train, val = order(module.train_dataloader()), order(module.val_dataloader())
        assert sorted(train + val) == list(range(20))
        assert len(val) == 5
        return val

    assert held_out(1) == held_out(1)
    assert held_out(1) != held_out(2)


def test_a_split_of_a_hugging_face_dataset_stays_one():
    module = UniversalDataModule(HuggingFaceDataset.from_list(ROWS), val_split=0.5)
    assert isinstance(module.train_dataset, HuggingFaceDataset)
    assert len(module.val_dataset) == 10


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, 0.01, 0.99])
def test_a_split_that_leaves_a_part_empty_is_refused(fraction):
    with pytest.raises(ValueError, match=f"val_split is {fraction} of 20 samples, allowed is"):
        UniversalDataModule(ROWS, val_split=fraction)


def test_a_split_beside_validation_data_is_refused():
    with pytest.raises(ValueError, match="there is a val_dataset too; give one of them"):
        UniversalDataModule(ROWS, ROWS, val_split=0.5)


def test_settings_out_of_range_are_refused_at_once():
    with pytest.raises(ValueError, match="batch_size is 0"):
        UniversalDataModule(ROWS, batch_size=0)
