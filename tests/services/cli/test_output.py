"""Tables lose nothing: not in a narrow terminal, and not what looks like markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.cli.output import coloured, table

STATUS = ("service", "url", ">pid", "health", ">up", ">restarts", ">memory")
SERVICES = [
    (
        "scheduler-1",
        "http://127.0.0.1:22939",
        3_171_551,
        coloured("ready", "green"),
        "21 s",
        12,
        "1185 MB",
    ),
    ("trainer-1", None, 171, "down", "", "", ""),
]
JOBS = (">job", "type", "model", "status", ">done", ">try", ">age", "~about it")


def rendered(columns, rows, width):
    screen = Console(width=width, file=io.StringIO(), highlight=False)
    screen.print(table(columns, rows, width=width))
    return screen.file.getvalue()


def test_eighty_columns_hold_every_service_in_a_line():
    text = rendered(STATUS, SERVICES, 80)
    assert "http://127.0.0.1:22939" in text
    assert len(text.strip().splitlines()) == 4
    assert max(map(len, text.splitlines())) <= 80


def test_prose_gives_way_before_names_and_numbers_do():
    about = "Data drift: the JS divergence of 0.3436 bits reaches the threshold of 0.2."
    text = rendered(JOBS, [(17, "training", "a-model", "completed", "", "1/3", "2 min", about)], 80)
    assert "a-model  completed  " in text
    assert all(word in text for word in about.split())


@pytest.mark.parametrize("width", [40, 60])
def test_a_width_that_is_too_small_breaks_cells_and_cuts_none(width):
    text = rendered(STATUS, SERVICES, width)
    assert "…" not in text
    assert set("http://127.0.0.1:22939") <= set(text)
    assert text.count("1") == rendered(STATUS, SERVICES, 200).count("1")


def test_columns_without_anything_in_them_are_left_out():
    text = rendered(JOBS, [(1, "training", "m", "pending", "", "1/3", "2 s", None)], 80)
    assert "done" not in text
    assert "about it" not in text


def test_what_looks_like_markup_is_shown_to_the_letter():
    text = rendered(("~why",), [("see [/here] and [bold]there[torch]",)], 80)
    assert "see [/here] and [bold]there[torch]" in text
