"""One store, two databases: SQLite for a notebook, Postgres for the services.

Each store declares its tables on :data:`metadata` and works with the engine of
:func:`open_database`: ``with engine.begin() as connection`` for a transaction that writes,
``with reading(engine) as connection`` for single statements that read.
"""

from utils.training.database.columns import (
    Id,
    Json,
    Real,
    UtcDateTime,
    content_digest,
    from_json,
    metadata,
    to_json,
    utc_now,
)
from utils.training.database.engine import conflict_insert, open_database, reading
from utils.training.database.paging import decode_cursor, encode_cursor
from utils.training.database.store import Guard, Store, unguarded
from utils.training.page import Page

__all__ = [
    "Guard",
    "Id",
    "Json",
    "Page",
    "Real",
    "Store",
    "UtcDateTime",
    "conflict_insert",
    "content_digest",
    "decode_cursor",
    "encode_cursor",
    "from_json",
    "metadata",
    "open_database",
    "reading",
    "to_json",
    "unguarded",
    "utc_now",
]
