"""The consumer group: entries that are not acknowledged yet, then new ones, then gaps."""

from __future__ import annotations

from typing import Any

import redis

from utils.service.contracts.predictions import STREAM

GROUP = "monitor"
_CONSUMER = "active"  # one at a time: who holds the lock goes on where the one before ended
Entry = tuple[bytes, bytes | None]  # its id; its summary, None where the stream dropped it


class Entries:
    """Reads the stream as the one active consumer of its group."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._pending_from: bytes | None = b"0"  # None: all that was pending is read

    def rewind(self) -> bool:
        """Begin again with what is not acknowledged; True where there was no group, and is now."""
        self.reread()
        try:
            self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True, entries_read=0)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return False
        return True

    def reread(self) -> None:
        """Begin again with what is not acknowledged."""
        self._pending_from = b"0"

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Some entries, unacknowledged ones of before first; empty where none came in time.

        Raises:
            redis.ResponseError: ``NOGROUP``; Redis was emptied.
        """
        if self._pending_from is not None:
            found = self._fetch(self._pending_from, count, None)
            self._pending_from = found[-1][0] if found else None
            if found:
                return found
        return self._fetch(b">", count, block_ms)

    def skip_lost(self) -> int:
        """How many entries the stream dropped before they were read; told once."""
        stream: Any = self._redis.xinfo_stream(STREAM)
        group = self._group()
        dropped = stream["entries-added"] - stream["length"]
        lost = int(dropped - (group["entries-read"] or 0))
        if lost <= 0 or group["entries-read"] is None:
            return 0
        first = stream["first-entry"]
        last_id = _before(first[0]) if first else stream["last-generated-id"]
        self._redis.xgroup_setid(STREAM, GROUP, last_id, entries_read=dropped)
        return lost

    def lag(self) -> int:
        """Entries that are not read yet."""
        return int(self._group()["lag"] or 0)

    def _group(self) -> dict[str, Any]:
        groups: Any = self._redis.xinfo_groups(STREAM)
        return next(g for g in groups if g["name"] in {GROUP, GROUP.encode()})

    def _fetch(self, start: bytes, count: int, block_ms: int | None) -> list[Entry]:
        answer: Any = self._redis.xreadgroup(
            GROUP, _CONSUMER, {STREAM: start}, count=count, block=block_ms
        )
        if not answer:
            return []
        streams = answer.values() if isinstance(answer, dict) else [found for _, found in answer]
        return [
            (entry_id, (fields or {}).get(b"summary"))
            for found in streams
            for entry_id, fields in (found[0] if found and isinstance(found[0], list) else found)
        ]


def _before(entry_id: bytes) -> str:
    """The greatest id below this one."""
    time, _, sequence = entry_id.decode().partition("-")
    if int(sequence):
        return f"{time}-{int(sequence) - 1}"
    return f"{int(time) - 1}-{2**64 - 1}"
