"""What is printed: JSON for programs, tables and sentences for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 200  # nobody's terminal is that wide, and a program may cut for itself


def print_json(value: Any) -> None:
    """One JSON document in one line; times are RFC 3339."""
    from utils.service.contracts.document import to_json

    sys.stdout.write(to_json(Any, value).decode() + "\n")
    sys.stdout.flush()


def say(sentence: str) -> None:
    """A sentence for people."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def console() -> Console:
    """Where tables go; wide enough not to cut where nobody looks."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else _PIPE_WIDTH, highlight=False)


def table(*columns: str) -> Table:
    """An empty table; a column whose name begins with ``>`` is for numbers."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if number else "left")
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or the sentence that says why there is none."""
    made = table(*columns)
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    if made.row_count:
        console().print(made)
    else:
        say(empty)


def print_sheet(rows: Mapping[str, object]) -> None:
    """Names and what they have; what is None or empty is left out."""
    made = table("", "")
    made.show_header = False
    for name, value in rows.items():
        if value not in (None, ""):
            made.add_row(name, str(value))
    console().print(made)


def ago(when: datetime | None) -> str:
    """How long ago, in the unit that fits."""
    return "" if when is None else duration((datetime.now(UTC) - when).total_seconds())


def duration(seconds: float) -> str:
    """A span of time, in the unit that fits."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def number(value: float | None) -> str:
    """Four significant digits."""
    return "" if value is None else f"{value:.4g}"
