"""Host copies of a state, in memory that is kept from one save to the next."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from utils.training.engine.checkpoint.direct_io import ALIGNMENT_BYTES
from utils.training.engine.checkpoint.plain_values import map_tensors

_PIECE_BYTES = 8 << 20
_MAX_THREADS = 4  # more don't copy faster


class HostBuffers:
    """One block of host memory that takes a copy of a state's tensors, save after save.

    A copy into memory that was touched before runs at the speed of memory; fresh memory costs a
    page fault for each page. Each storage begins where a disk can take it from directly. The block
    is pinned where there is a GPU to copy from.
    """

    def __init__(self) -> None:
        self._block: Any = None
        self._num_bytes = 0
        self._owner_process = 0

    def snapshot(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return ``state`` with each tensor copied to the host.

        Tensors that share memory (tied weights) share it in the copy too. The copy holds until the
        next snapshot, which overwrites it.
        """
        with self.copying(state) as copy:
            return copy

    @contextmanager
    def copying(self, state: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Take a :meth:`snapshot` whose tensors fill up while the body runs; then it is done."""
        sources = {_address(t): t.untyped_storage() for t in tensors_of(state) if is_view(t)}
        copies = self._reserve([storage.nbytes() for storage in sources.values()])
        placed = dict(zip(sources, copies, strict=True))
        with _copying([_as_bytes(storage) for storage in sources.values()], copies):
            yield map_tensors(
                state,
                lambda tensor: (
                    _view_like(tensor, placed[_address(tensor)])
                    if is_view(tensor)
                    else tensor.cpu().clone()
                ),
            )

    def release(self) -> None:
        """Give the memory back; the next snapshot takes it anew."""
        self._block, self._num_bytes = None, 0

    def _reserve(self, sizes: list[int]) -> list[Tensor]:
        """Byte tensors of these sizes, each with a storage of its own, in the one block."""
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        if total > self._num_bytes or self._owner_process != os.getpid():
            self.release()  # before the new block, so that there is never a second copy
            self._block, self._num_bytes = _allocate(total), total
            self._owner_process = os.getpid()
            # After a fork torch makes its thread pool anew, and fails where two threads ask first.
            torch.set_num_threads(torch.get_num_threads())
        return [
            torch.frombuffer(self._block, dtype=torch.uint8, count=size, offset=start)
            if size
            else torch.empty(0, dtype=torch.uint8)
            for start, size in zip(starts, sizes, strict=True)
        ]


def is_on_host(state: dict[str, Any]) -> bool:
    """Tell whether every tensor lies in the memory of the CPU."""
    return all(tensor.device.type == "cpu" for tensor in tensors_of(state))


def tensors_of(state: dict[str, Any]) -> list[Tensor]:
    """List the tensors of a plain state."""
    found: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(state, collect)
    return found


def is_view(tensor: Tensor) -> bool:
    """Tell whether the tensor is a storage, an offset, a shape and strides, and no more."""
    is_lazy = tensor.is_conj() or tensor.is_neg()
    return tensor.layout is torch.strided and not tensor.is_quantized and not is_lazy


def _address(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()


def _as_bytes(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _view_like(tensor: Tensor, copy: Tensor) -> Tensor:
    view = torch.empty(0, dtype=tensor.dtype)
    return view.set_(copy.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


@contextmanager
def _copying(sources: list[Tensor], targets: list[Tensor]) -> Iterator[None]:
    """Copy at the speed of memory, which a single core of the host can't reach."""
    pieces: list[tuple[Tensor, Tensor]] = []
    for source, target in zip(sources, targets, strict=True):
        if source.numel() <= _PIECE_BYTES:
            pieces.append((source, target))
        else:
            pieces.extend(zip(source.split(_PIECE_BYTES), target.split(_PIECE_BYTES), strict=True))
    num_threads = max(1, min(_MAX_THREADS, os.cpu_count() or 1, len(pieces)))
    with ThreadPoolExecutor(num_threads, thread_name_prefix="snapshot") as pool:
        shares = (pieces[i::num_threads] for i in range(num_threads))
        copied = [pool.submit(_copy_pieces, share) for share in shares if share]
        yield
        for share in copied:
            share.result()


def _copy_pieces(pieces: list[tuple[Tensor, Tensor]]) -> None:
    sources, targets = zip(*pieces, strict=True)
    torch._foreach_copy_(targets, sources, non_blocking=True)
    if any(source.is_cuda for source in sources):
        torch.cuda.synchronize()


def _allocate(num_bytes: int) -> Any:
    if torch.cuda.is_available():
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True).numpy()
    block = mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_DONTFORK"):
        # Else a snapshot under living loader workers would fault in a second copy page by page.
        block.madvise(mmap.MADV_DONTFORK)
    return block
