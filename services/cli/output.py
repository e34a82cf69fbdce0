"""What is printed: JSON for programs, tables and sentences for people."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table
    from rich.text import Text

_PIPE_WIDTH = 200  # nobody's terminal is that wide, and a program may cut for itself
_LEAST_PROSE = 16  # characters; in a narrower column nobody likes to read
_GAP = "  "  # what rich puts between two columns, and half of it at each edge


def print_json(value: Any) -> None:
    """One JSON document in one line; times are RFC 3339."""
    from utils.service.contracts.document import to_json

    sys.stdout.write(to_json(Any, value).decode() + "\n")
    sys.stdout.flush()


def say(sentence: str) -> None:
    """A sentence for people."""
    sys.stdout.write(f"{flowing(sentence, sys.stdout)}\n")
    sys.stdout.flush()


def flowing(text: str, stream: TextIO) -> str:
    """The text as a terminal of its width breaks it between words; a pipe gets it as it is."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )


def console() -> Console:
    """Where tables go; wide enough not to cut where nobody looks."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else _PIPE_WIDTH, highlight=False)


def coloured(text: str, style: str) -> Text:
    """A cell in a colour."""
    from rich.text import Text

    return Text(text, style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, width: int) -> Table:
    """A table that loses nothing in this width; columns that are empty all the way are left out.

    A column whose name begins with ``>`` is for numbers. One that begins with ``~`` is for prose,
    which alone is broken into lines, as long as the others leave room for it.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[_cell(cell) for cell in row] for row in rows]
    shown = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    heads = [Text(columns[index].lstrip(">~")) for index in shown]
    is_prose = [columns[index].startswith("~") for index in shown]
    widths = [
        _LEAST_PROSE if prose else max(map(_width, [head, *(row[index] for row in cells)]))
        for index, head, prose in zip(shown, heads, is_prose, strict=True)
    ]
    fits = sum(widths) + len(_GAP) * len(widths) <= width
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, head, prose in zip(shown, heads, is_prose, strict=True):
        justify: JustifyMethod = "right" if columns[index].startswith(">") else "left"
        made.add_column(head, justify=justify, no_wrap=fits and not prose, overflow="fold")
    for row in cells:
        made.add_row(*(row[index] for index in shown))
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or the sentence that says why there is none."""
    screen = console()
    made = table(columns, rows, width=screen.width)
    if made.row_count:
        screen.print(made)
    else:
        say(empty)


def print_sheet(rows: Mapping[str, object]) -> None:
    """Names and what they have; what is None or empty is left out."""
    screen = console()
    said = [(name, value) for name, value in rows.items() if value not in (None, "")]
    made = table(("", "~"), said, width=screen.width)
    made.show_header = False
    screen.print(made)


def _cell(value: object) -> Text:
    """What is shown of a value, to the letter: brackets in it are no markup."""
    from rich.text import Text

    return value if isinstance(value, Text) else Text("" if value is None else str(value))


def _width(cell: Text) -> int:
    return max((line.cell_len for line in cell.split()), default=0)


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
