import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.training.engine.data import EpochSampler


def indices_of(sampler, epoch=0, start=0):
    return [indices for _, indices in sampler.batches(epoch, start)]


def ranks(length, batch_size, world_size, **options):
    return [
        EpochSampler(length, batch_size=batch_size, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    one = EpochSampler(50, batch_size=4, shuffle=True, seed=1)
    two = EpochSampler(50, batch_size=8, shuffle=True, seed=1)
    assert one.order(3).tolist() == two.order(3).tolist()
    assert one.order(3).tolist() != one.order(4).tolist()
    other = EpochSampler(50, batch_size=4, shuffle=True, seed=2)
    assert one.order(3).tolist() != other.order(3).tolist()


def test_without_shuffle_the_order_is_the_datasets():
    assert indices_of(EpochSampler(5, batch_size=2)) == [[0, 1], [2, 3], [4]]


@given(
    length=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_every_sample_comes_once_over_all_ranks(length, batch_size, world_size, shuffle):
    samplers = ranks(length, batch_size, world_size, shuffle=shuffle)
    seen = [index for sampler in samplers for index in sampler]
    assert sorted(seen) == list(range(length))


@given(
    length=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 4),
    drop_last=st.booleans(),
)
def test_lengths_are_what_comes(length, batch_size, world_size, drop_last):
    for sampler in ranks(length, batch_size, world_size, drop_last=drop_last, shuffle=True):
        batches = indices_of(sampler)
        assert len(batches) == sampler.num_batches
        assert sum(map(len, batches)) == len(sampler)
        if drop_last:
            assert all(len(batch) == batch_size for batch in batches)
            assert sampler.num_batches == length // (batch_size * world_size)


def test_two_ranks_batch_the_same_samples_as_one_with_double_batches():
    single = indices_of(EpochSampler(22, batch_size=8, shuffle=True, seed=3))
    first, second = (indices_of(s) for s in ranks(22, 4, 2, shuffle=True, seed=3))
    both = [sorted(a + b) for a, b in zip(first, second, strict=True)]
    assert both == [sorted(batch) for batch in single]


@given(start=st.integers(0, 7))
def test_a_start_gives_the_tail(start):
    sampler = EpochSampler(21, batch_size=3, shuffle=True)
    assert indices_of(sampler, 2, start) == indices_of(sampler, 2)[start:]


def test_iterating_counts_the_epochs_and_forgets_the_start():
    sampler = EpochSampler(9, batch_size=3, shuffle=True)
    sampler.set_epoch(4)
    sampler.start_at(1)
    assert list(sampler) == sampler.order(4)[3:].tolist()
    assert list(sampler) == sampler.order(5).tolist()


@pytest.mark.parametrize("position", [-1, 4])
def test_a_position_outside_the_epoch_is_refused(position):
    with pytest.raises(ValueError, match=rf"batch {position}, allowed is 0 to 3"):
        EpochSampler(9, batch_size=3).start_at(position)


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_outside_the_world_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank is {rank}, allowed is 0 to 1"):
        EpochSampler(9, batch_size=3, rank=rank, world_size=2)
