"""How the ranks of one start find each other in a store that former starts have written to.

torchrun keeps its store over restarts, with the addresses of processes that are gone. So the first
rank makes up a prefix for each start, and gives it to whoever asks under a name of its own.
"""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from torch.distributed.distributed_c10d import PrefixStore

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_LOOK_SECONDS = 0.01
_TIMEOUT_SECONDS = 600.0


def fresh_part(store: Store, rank: int, size: int) -> Store:
    """Return a part of the store that is this start's alone.

    Raises:
        RuntimeError: another rank did not come within ten minutes.
    """
    if rank == 0:
        return PrefixStore(_welcome_all(store, size), store)
    name = secrets.token_hex(8)
    store.set(f"training/hello/{rank}", name)
    store.wait([f"training/welcome/{name}"], timedelta(seconds=_TIMEOUT_SECONDS))
    prefix = store.get(f"training/welcome/{name}").decode()
    store.set(f"{prefix}/here/{rank}", "1")
    return PrefixStore(prefix, store)


def _welcome_all(store: Store, size: int) -> str:
    """Answer every rank, and each again that asks under another name, until all are there."""
    prefix = f"training/start/{secrets.token_hex(8)}"
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    missing = set(range(1, size))
    while missing:
        for rank in sorted(missing):
            if store.check([f"{prefix}/here/{rank}"]):
                missing.discard(rank)
            elif store.check([f"training/hello/{rank}"]):
                name = store.get(f"training/hello/{rank}").decode()
                store.set(f"training/welcome/{name}", prefix)
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"The ranks {sorted(missing)} of {size} did not come within "
                f"{_TIMEOUT_SECONDS:.0f} s; start as many processes as WORLD_SIZE says."
            )
        time.sleep(_LOOK_SECONDS)
    return prefix
