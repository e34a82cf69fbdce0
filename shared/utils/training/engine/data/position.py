"""One way into any loader's epoch, at any batch: ours by index, a foreign one by replay."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any

import torch

from utils.training.engine.data.loader import ResumableDataLoader
from utils.training.seed_manager import capture_rng_state, restore_rng_state

logger = logging.getLogger(__name__)

_SAMPLERS = ("sampler", "batch_sampler", "batch_sampler.sampler")
_WITH_EPOCH = ("", "dataset", *_SAMPLERS)


def capture_epoch_start(loader: Iterable[Any]) -> dict[str, Any]:
    """Capture what the coming epoch's order depends on, right before :func:`iterate`.

    It is :func:`~utils.training.seed_manager.capture_rng_state`'s form with one more key,
    ``"loader"``; a safe checkpoint may hold it.
    """
    return {**capture_rng_state(), "loader": capture_loader_state(loader)}


def capture_loader_state(loader: Iterable[Any]) -> dict[str, torch.Tensor]:
    """Give the states of the generators that a loader and its samplers own, by where they are."""
    return {path: owned.get_state() for path, owned in _generators(loader).items()}


def restore_loader_state(loader: Iterable[Any], state: dict[str, torch.Tensor]) -> None:
    """Put a loader's own generators where :func:`capture_loader_state` found them."""
    owned = _generators(loader)
    for path in state.keys() & owned.keys():
        owned[path].set_state(state[path])


def iterate(
    loader: Iterable[Any],
    *,
    epoch: int,
    start_batch: int = 0,
    epoch_start_rng: dict[str, Any] | None = None,
) -> Iterator[Any]:
    """Open a loader's epoch at a batch; on return the next batch is ``start_batch``.

    A :class:`ResumableDataLoader` gets there at once and touches no generator. Any other loader
    or iterable is put back to the epoch's start and replayed: it fetches ``start_batch`` batches
    and throws them away, so afterwards the caller restores the generators' states at the position.

    Args:
        loader: a DataLoader or any iterable of batches that can be iterated anew.
        epoch: told to the loader, its samplers and its dataset where they have ``set_epoch``.
        start_batch: batches of the epoch that were seen already.
        epoch_start_rng: what :func:`capture_epoch_start` gave at the start of this epoch, for
            foreign loaders.

    Raises:
        ValueError: the epoch has fewer batches.
    """
    if isinstance(loader, ResumableDataLoader):
        _announce(loader, epoch)
        loader.start_at(start_batch)
        return iter(loader)
    if epoch_start_rng is not None:
        restore_rng_state(epoch_start_rng)
        restore_loader_state(loader, epoch_start_rng.get("loader", {}))
    _announce(loader, epoch)
    if start_batch and getattr(loader, "persistent_workers", False):
        logger.warning(
            "The loader keeps its workers, whose random state can't be put back: the order is "
            "exact, random augmentation isn't."
        )
    batches = iter(loader)
    _replay(batches, start_batch, is_exact=epoch_start_rng is not None)
    return batches


def _replay(batches: Iterator[Any], count: int, *, is_exact: bool) -> None:
    if not count:
        return
    logger.info("Replaying %d batches of a foreign loader to reach the position.", count)
    if not is_exact:
        logger.warning(
            "The random state at the epoch's start is unknown: a shuffling loader will repeat "
            "some samples of this epoch and leave out others."
        )
    for done in range(count):
        try:
            next(batches)
        except StopIteration:
            raise ValueError(
                f"The position is batch {count} and the loader's epoch has only {done}; resume "
                "with the loader that was saved."
            ) from None


def _announce(loader: Iterable[Any], epoch: int) -> None:
    told: list[Any] = []
    for path in _WITH_EPOCH:
        part = _find(loader, path)
        set_epoch = getattr(part, "set_epoch", None)
        if callable(set_epoch) and not any(part is other for other in told):
            set_epoch(epoch)
            told.append(part)


def _generators(loader: Iterable[Any]) -> dict[str, torch.Generator]:
    paths = ("generator", *(f"{sampler}.generator" for sampler in _SAMPLERS))
    found = {path: _find(loader, path) for path in paths}
    return {path: it for path, it in found.items() if isinstance(it, torch.Generator)}


def _find(root: Any, path: str) -> Any:
    names = path.split(".") if path else []
    return reduce(lambda part, name: getattr(part, name, None), names, root)
