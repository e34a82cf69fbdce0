"""What Alembic runs: each step in the transaction of the connection that it was given."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from utils.training.database import metadata


def _plain(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write this project's column types as what they are in the database: a step never changes."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    compare_server_default=True,
    render_item=_plain,
)
with context.begin_transaction():
    context.run_migrations()
