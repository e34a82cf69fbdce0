import random

import numpy as np
import pytest
import torch
from datasets import Dataset as HuggingFaceDataset
from torch.utils.data import ConcatDataset, Subset, TensorDataset, default_collate

from utils.training.engine.data import DefaultCollator
from utils.training.engine.data.fetch import KeyedBatches, is_data_at_rest


class Noisy:
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {"n": torch.rand(1) + random.random() + np.random.rand(), "index": index}


class NoisyInBulk(Noisy):
    def __getitems__(self, indices):
        noise = torch.rand(len(indices))
        return [{"n": n, "index": i} for n, i in zip(noise, indices, strict=True)]


def masked_at_random(samples):
    batch = torch.stack([sample[0] for sample in samples])
    return batch * torch.bernoulli(torch.full_like(batch, 0.5))


def test_a_sample_draws_by_its_index_whatever_batch_it_is_in():
    batches = KeyedBatches(Noisy(), default_collate, seed=1)
    together = batches[0, [3, 4, 5]]["n"]
    apart = torch.cat([batches[0, [i]]["n"] for i in (3, 4, 5)])
    assert torch.equal(together, apart)
    assert not torch.equal(batches[1, [3, 4, 5]]["n"], together)
    assert not torch.equal(KeyedBatches(Noisy(), default_collate, seed=2)[0, [3]]["n"], apart[:1])


def test_a_dataset_that_fetches_in_bulk_is_keyed_by_batch():
    batches = KeyedBatches(NoisyInBulk(), default_collate, seed=1)
    again = batches[0, [3, 4]]["n"]
    assert torch.equal(batches[0, [3, 4]]["n"], again)
    assert not torch.equal(batches[0, [4, 3]]["n"], again)
    assert not torch.equal(batches[1, [3, 4]]["n"], again)


def test_a_collator_that_draws_is_keyed_too():
    data = TensorDataset(torch.ones(10, 20))
    batches = KeyedBatches(data, masked_at_random, seed=1)
    assert torch.equal(batches[0, [1, 2]], batches[0, [1, 2]])
    assert not torch.equal(batches[0, [1, 2]], batches[0, [3, 4]])


@pytest.mark.parametrize("collate", [default_collate, masked_at_random])
@pytest.mark.parametrize("kind", [Noisy, NoisyInBulk])
def test_this_process_draws_on_as_if_nothing_was_fetched(kind, collate):
    data = TensorDataset(torch.ones(10, 2)) if collate is masked_at_random else kind()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    _ = KeyedBatches(data, collate, seed=1)[0, [1, 2]]
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected


def test_whole_tensors_are_cut_at_once_with_the_same_result():
    data = TensorDataset(torch.arange(20.0).view(10, 2), torch.arange(10))
    for dataset in (data, Subset(data, [9, 7, 5, 3, 1])):
        at_once = KeyedBatches(dataset, DefaultCollator(), seed=0)[0, [2, 0]]
        one_by_one = DefaultCollator()([dataset[2], dataset[0]])
        assert all(torch.equal(a, b) for a, b in zip(at_once, one_by_one, strict=True))


def test_data_at_rest_is_told_from_code_that_may_draw():
    tensors = TensorDataset(torch.ones(3, 1))
    texts = HuggingFaceDataset.from_dict({"x": [1, 2, 3]})
    assert is_data_at_rest(tensors)
    assert is_data_at_rest([1, 2])
    assert is_data_at_rest(Subset(tensors, [0]))
    assert is_data_at_rest(ConcatDataset([tensors, tensors]))
    assert is_data_at_rest(texts)
    assert is_data_at_rest(texts.with_format("torch"))
    assert not is_data_at_rest(texts.with_transform(lambda batch: batch))
    assert not is_data_at_rest(Noisy())
    assert not is_data_at_rest(Subset(Noisy(), [0]))
    assert not is_data_at_rest(ConcatDataset([tensors, Noisy()]))
