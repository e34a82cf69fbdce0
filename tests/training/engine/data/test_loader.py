import logging
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from utils.training.engine.data import ResumableDataLoader

BATCH = 4


class Augmented:
    """Every sample draws from all three generators."""

    def __init__(self, length=22):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        noise = torch.randn(3) + random.random() + float(np.random.rand())
        return {"x": noise, "index": torch.tensor(index)}


class Failing(Augmented):
    def __getitem__(self, index):
        if index == 9:
            raise KeyError("the ninth")
        return super().__getitem__(index)


class Endless(IterableDataset):
    def __iter__(self):
        yield from range(10)


def loader(num_workers=0, dataset=None, **options):
    settings = {"shuffle": True, "seed": 5, **options}
    return ResumableDataLoader(dataset or Augmented(), BATCH, num_workers=num_workers, **settings)


def same(ours, theirs):
    return len(ours) == len(theirs) and all(
        torch.equal(a[key], b[key]) for a, b in zip(ours, theirs, strict=True) for key in a
    )


def epochs(of, count=2):
    return [list(of) for _ in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": 2},
        {"num_workers": 1, "prefetch_factor": 4},
        {"num_workers": 2, "persistent_workers": True},
    ],
)
def test_workers_change_no_bit_of_any_batch(options):
    here, there = epochs(loader()), epochs(loader(**options))
    assert all(same(a, b) for a, b in zip(here, there, strict=True))


def test_spawned_workers_give_the_same_batches_too():
    spawned = loader(1, multiprocessing_context="spawn")
    assert same(list(spawned), list(loader()))


def test_epochs_differ_and_repeat_by_number():
    data = loader()
    first, second = epochs(data)
    assert not same(first, second)
    assert sorted(torch.cat([b["index"] for b in second]).tolist()) == list(range(22))
    data.set_epoch(0)
    assert same(list(data), first)
    assert same(list(data), second)


def test_samples_draw_anew_in_every_epoch_even_unshuffled():
    first, second = epochs(loader(shuffle=False))
    assert torch.equal(first[0]["index"], second[0]["index"])
    assert not torch.equal(first[0]["x"], second[0]["x"])


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start", [0, 2, 5, 6])
def test_a_start_gives_the_epochs_tail_and_holds_once(start, num_workers):
    whole = epochs(loader())
    resumed = loader(num_workers)
    resumed.start_at(start)
    assert len(resumed) == 6
    assert same(list(resumed), whole[0][start:])
    assert same(list(resumed), whole[1])


@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 2}, {"pin_memory": torch.cuda.is_available()}]
)
def test_the_processs_own_random_stream_is_untouched(options):
    torch.manual_seed(0)
    random.seed(0)
    expected = torch.rand(2).tolist(), random.random()
    torch.manual_seed(0)
    random.seed(0)
    list(loader(**options))
    assert (torch.rand(2).tolist(), random.random()) == expected


def test_an_epoch_abandoned_halfway_leaves_nothing_behind():
    data = loader(2, persistent_workers=True)
    for _ in data:
        break
    assert same(list(data), epochs(loader())[1])


def test_it_is_a_dataloader_with_the_usual_attributes():
    data = loader(drop_last=True)
    assert isinstance(data, DataLoader)
    assert (data.batch_size, data.drop_last, data.num_workers) == (4, True, 0)
    assert isinstance(data.dataset, Augmented)
    assert len(data) == len(list(data)) == len(data.batch_sampler) == 5


def test_ranks_share_an_epoch_without_repeats():
    parts = [list(loader(rank=rank, world_size=3)) for rank in range(3)]
    seen = torch.cat([batch["index"] for part in parts for batch in part]).tolist()
    assert sorted(seen) == list(range(22))


def test_lists_are_datasets():
    data = ResumableDataLoader([{"x": i} for i in range(5)], 2)
    assert [batch["x"].tolist() for batch in data] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_the_dataset_comes_through(num_workers):
    with pytest.raises(KeyError, match="the ninth"):
        list(loader(num_workers, dataset=Failing(), shuffle=False))


def test_a_users_worker_init_runs_in_the_worker(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    list(loader(2, worker_init_fn=lambda worker_id: (notes / str(worker_id)).touch()))
    assert sorted(path.name for path in notes.iterdir()) == ["0", "1"]


def test_more_workers_than_processors_is_one_line_in_the_log(caplog):
    with caplog.at_level(logging.WARNING):
        data = loader(64)
    assert "num_workers is 64" in caplog.text
    assert len(caplog.records) == 1
    assert len(data) == 6


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=f"batch_size is {size}, allowed is a whole number from 1"):
        ResumableDataLoader([1], size)


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match="The dataset is empty"):
        ResumableDataLoader([], 2)


@pytest.mark.parametrize("dataset", [Endless(), iter([1]), 5])
def test_what_has_no_order_is_refused(dataset):
    with pytest.raises(TypeError, match="no order to draw by index"):
        ResumableDataLoader(dataset, 2)


def test_a_dict_of_splits_is_refused_with_their_names():
    with pytest.raises(TypeError, match="with the keys train, test; give one of its parts"):
        ResumableDataLoader({"train": [1], "test": [2]}, 2)
