"""Dashboards as files: PNG, SVG, or one HTML page that needs nothing beside it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from html import escape
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from utils.training.errors import UnknownNameError

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; color: #222; }}
svg {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.25rem 0.75rem; text-align: right; border-bottom: 1px solid #ddd; }}
</style>
</head>
<body>
<figure role="img" aria-label="{title}">
{picture}
</figure>
{table}
</body>
</html>
"""


def save_figure(
    figure: Figure, frame: pd.DataFrame, title: str, path: str | Path, dots_per_inch: int
) -> Path:
    """Write a dashboard in the format that the file's ending names, whole or not at all.

    Raises:
        UnknownNameError: a ValueError; the ending is none of ``.png``, ``.svg`` and ``.html``.
    """
    target = Path(path)
    writers: dict[str, Callable[[], bytes]] = {
        ".png": lambda: _rendered(figure, "png", dots_per_inch),
        ".svg": lambda: _rendered(figure, "svg", dots_per_inch),
        ".html": lambda: _page(figure, frame, title, dots_per_inch),
    }
    if target.suffix.lower() not in writers:
        raise UnknownNameError("dashboard format", target.suffix, writers)
    content = writers[target.suffix.lower()]()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(target)
    return target


def _rendered(figure: Figure, file_format: str, dots_per_inch: int) -> bytes:
    buffer = io.BytesIO()
    # Without a date and random ids the same run gives the same bytes.
    metadata = {"Date": None} if file_format == "svg" else None
    with mpl.rc_context({"svg.hashsalt": "dashboard"}):
        figure.savefig(buffer, format=file_format, dpi=dots_per_inch, metadata=metadata)
    return buffer.getvalue()


def _page(figure: Figure, frame: pd.DataFrame, title: str, dots_per_inch: int) -> bytes:
    picture = _rendered(figure, "svg", dots_per_inch).decode()
    table = frame.to_html(index=False, float_format="{:.6g}".format, na_rep="", border=0)
    page = _PAGE.format(title=escape(title), picture=picture[picture.index("<svg") :], table=table)
    return page.encode()
