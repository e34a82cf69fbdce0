import logging
import random

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    WeightedRandomSampler,
)

from utils.training.engine.data import (
    ResumableDataLoader,
    capture_epoch_start,
    capture_loader_state,
    iterate,
    restore_loader_state,
)
from utils.training.seed_manager import capture_rng_state, restore_rng_state, set_random_seed


class Augmented(Dataset):
    def __len__(self):
        return 22

    def __getitem__(self, index):
        noise = torch.randn(2) + random.random() + float(np.random.rand())
        return torch.cat([noise, torch.tensor([float(index)])])


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.rand(22, 2)


def weighted():
    return WeightedRandomSampler(torch.rand(22), 30)


LOADERS = {
    "ours": lambda w: ResumableDataLoader(Augmented(), 4, shuffle=True, num_workers=w),
    "global generator": lambda w: DataLoader(Augmented(), 4, shuffle=True, num_workers=w),
    "own generator": lambda w: DataLoader(
        Augmented(), 4, shuffle=True, num_workers=w, generator=torch.Generator().manual_seed(3)
    ),
    "in order": lambda w: DataLoader(Augmented(), 4, num_workers=w),
    "weighted": lambda w: DataLoader(Augmented(), 4, sampler=weighted(), num_workers=w),
    "stream": lambda w: DataLoader(Stream(), 4, num_workers=w),
}


def equal(ours, theirs):
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def model_step():
    """What a model with dropout, and a user's callback, draw between two batches."""
    return torch.rand(3), random.random(), float(np.random.rand())


def train(loader, epochs=3, stop=(1, 2)):
    """Train through and note all batches, and what a checkpoint at ``stop`` holds."""
    seen, checkpoint = [], {}
    for epoch in range(epochs):
        start = capture_epoch_start(loader)
        for number, batch in enumerate(iterate(loader, epoch=epoch), 1):
            seen.append(((epoch, number), batch))
            model_step()
            if (epoch, number) == stop:
                checkpoint = {"start": start, "now": capture_rng_state()}
    return seen, checkpoint


def resume(loader, checkpoint, epochs=3, stop=(1, 2)):
    seen = []
    for epoch in range(stop[0], epochs):
        if epoch == stop[0]:
            batches = iterate(
                loader, epoch=epoch, start_batch=stop[1], epoch_start_rng=checkpoint["start"]
            )
            restore_rng_state(checkpoint["now"])
        else:
            batches = iterate(loader, epoch=epoch)
        for batch in batches:
            seen.append(batch)
            model_step()
    return seen


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", LOADERS)
def test_a_resumed_run_sees_the_batches_of_one_that_never_stopped(kind, num_workers, tmp_path):
    set_random_seed(1)
    straight, checkpoint = train(LOADERS[kind](num_workers))
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    set_random_seed(77)
    random_start = LOADERS[kind](num_workers)
    model_step()
    if kind == "weighted":  # its weights are data, not state
        random_start.sampler.weights = torch.as_tensor(straight_weights())
    loaded = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    expected = [batch for position, batch in straight if position > (1, 2)]
    assert equal(resume(random_start, loaded), expected)


def straight_weights():
    set_random_seed(1)
    return torch.rand(22)


def test_a_foreign_loader_says_that_it_is_replayed(caplog):
    loader = LOADERS["in order"](0)
    with caplog.at_level(logging.INFO):
        list(iterate(loader, epoch=0, start_batch=3, epoch_start_rng=capture_epoch_start(loader)))
    assert "Replaying 3 batches" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_replay_without_the_epochs_random_state_warns(caplog):
    list(iterate(LOADERS["in order"](0), epoch=0, start_batch=3))
    assert "random state at the epoch's start is unknown" in caplog.text


def test_a_replay_with_persistent_workers_warns(caplog):
    loader = DataLoader(Augmented(), 4, num_workers=1, persistent_workers=True)
    state = capture_epoch_start(loader)
    list(iterate(loader, epoch=0, start_batch=1, epoch_start_rng=state))
    assert "keeps its workers" in caplog.text


def test_our_loader_gets_there_without_fetching():
    class Counting(Augmented):
        fetched = 0

        def __getitem__(self, index):
            Counting.fetched += 1
            return super().__getitem__(index)

    batches = iterate(ResumableDataLoader(Counting(), 4), epoch=0, start_batch=5)
    assert Counting.fetched == 0
    assert len(list(batches)) == 1
    assert Counting.fetched == 2


def test_any_iterable_of_batches_will_do():
    batches = [torch.tensor([n]) for n in range(4)]
    assert equal(list(iterate(batches, epoch=0, start_batch=2)), batches[2:])


@pytest.mark.parametrize("kind", ["ours", "in order"])
def test_a_position_past_the_end_is_refused(kind):
    with pytest.raises(ValueError, match=r"The position is batch 9,? "):
        iterate(LOADERS[kind](0), epoch=0, start_batch=9)


def test_samplers_and_datasets_are_told_the_epoch():
    class Curriculum(Augmented):
        epoch = None

        def set_epoch(self, epoch):
            self.epoch = epoch

    data = Curriculum()
    sampler = DistributedSampler(data, num_replicas=2, rank=0)
    iterate(DataLoader(data, sampler=sampler), epoch=7)
    assert (sampler.epoch, data.epoch) == (7, 7)
    iterate(ResumableDataLoader(data, 4), epoch=8)
    assert data.epoch == 8


def test_a_loaders_own_generators_are_captured_and_restored():
    loader = LOADERS["own generator"](0)
    state = capture_loader_state(loader)
    first = list(loader)
    assert not equal(list(loader), first)
    restore_loader_state(loader, state)
    indices = [batch[:, 2] for batch in loader]
    assert equal(indices, [batch[:, 2] for batch in first])


def test_a_loader_without_generators_has_no_state():
    assert capture_loader_state(LOADERS["ours"](0)) == {}
    assert capture_loader_state([1, 2]) == {}
