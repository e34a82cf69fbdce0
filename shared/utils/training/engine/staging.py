"""Host copies of a state, in memory that is kept from one save to the next."""

from __future__ import annotations

import mmap
from typing import Any

import torch
from torch import Tensor

from utils.training.engine.plain_values import map_tensors

_ALIGNMENT_BYTES = 64


class HostBuffers:
    """One block of host memory that takes a copy of a state's tensors, save after save.

    A copy into memory that was touched before runs at the speed of memory; fresh memory would cost a
    page fault for every 4 KiB. The block is pinned where there is a GPU to copy from.
    """

    def __init__(self) -> None:
        self._block: Any = None
        self._num_bytes = 0

    def snapshot(self, state: dict[str, Any]) -> dict[str, Any]:
        """``state`` with each tensor copied to the host, done when this returns.

        Tensors that share memory (tied weights) share it in the copy too. The copy holds until the next
        snapshot, which overwrites it.
        """
        storages = _storages(state)
        copies = self._reserve([storage.nbytes() for storage in storages.values()])
        sources = [_as_bytes(storage) for storage in storages.values()]
        torch._foreach_copy_(copies, sources, non_blocking=True)
        if any(source.is_cuda for source in sources):
            torch.cuda.synchronize()
        placed = dict(zip(storages, copies, strict=True))
        return map_tensors(state, lambda tensor: _view_like(tensor, placed[_address(tensor)]))  # type: ignore[no-any-return]

    def release(self) -> None:
        """Give the memory back; the next snapshot takes it anew."""
        self._block, self._num_bytes = None, 0

    def _reserve(self, sizes: list[int]) -> list[Tensor]:
        """Byte tensors of these sizes, each with a storage of its own, in the one block."""
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        if total > self._num_bytes:
            self.release()  # before the new block, so that there is never a second copy
            self._block, self._num_bytes = _allocate(total), total
        return [
            torch.frombuffer(self._block, dtype=torch.uint8, count=size, offset=start)
            if size
            else torch.empty(0, dtype=torch.uint8)
            for start, size in zip(starts, sizes, strict=True)
        ]


def is_on_host(state: dict[str, Any]) -> bool:
    """True where every tensor lies in the memory of the CPU."""
    return all(tensor.device.type == "cpu" for tensor in _tensors(state))


def _tensors(state: dict[str, Any]) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(state, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


def _address(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()


def _storages(state: dict[str, Any]) -> dict[tuple[torch.device, int], torch.UntypedStorage]:
    return {_address(tensor): tensor.untyped_storage() for tensor in _tensors(state)}


def _as_bytes(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _view_like(tensor: Tensor, copy: Tensor) -> Tensor:
    view = torch.empty(0, dtype=tensor.dtype)
    return view.set_(copy.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


def _allocate(num_bytes: int) -> Any:
    if torch.cuda.is_available():
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True).numpy()
    block = mmap.mmap(-1, num_bytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)  # a page fault for 2 MiB, not for 4 KiB
    return block
