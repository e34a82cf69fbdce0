"""A job's log, once or as it grows."""

from __future__ import annotations

import codecs
import sys
import time

from services.cli.connection import Connection
from services.cli.output import print_json

_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.5


def print_log(
    connection: Connection,
    job_id: int,
    *,
    follow: bool,
    tail_bytes: int | None,
    as_json: bool,
) -> None:
    """Print the log; with ``follow``, until the job has ended and all of it is printed."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offset = 0 if tail_bytes is None else -tail_bytes
    with connection.scheduler("reader", _PATIENCE_SECONDS) as scheduler:
        while True:
            is_over = not follow or scheduler.get_job(job_id).is_finished
            piece = scheduler.read_log(job_id, offset)
            text = decoder.decode(piece.content)
            if text:
                _print(text, piece.next_offset, as_json=as_json)
            if piece.content:
                offset = piece.next_offset
            elif is_over:
                return
            else:
                time.sleep(_LOOK_SECONDS)


def _print(text: str, next_offset: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"text": text, "next_offset": next_offset})
    else:
        sys.stdout.write(text)
        sys.stdout.flush()
