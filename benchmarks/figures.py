"""A benchmark's figures, and the table that shows them.

A benchmark is a module of this folder with ``run() -> list[Figure]``; its figures are ratios to a
peer or to a physical limit that was measured in the same run.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured value, beside what it is held against."""

    what: str
    value: float
    unit: str = "ratio"
    at_most: float | None = None
    at_least: float | None = None
    against: str = ""  # the peer or limit of the same run, with its own absolute figure

    @property
    def bound(self) -> str:
        """The bound in words, empty where the figure is only reported."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"

    @property
    def is_met(self) -> bool:
        """True where the value keeps its bound, or has none."""
        reaches = self.at_least is None or self.value >= self.at_least
        return reaches and (self.at_most is None or self.value <= self.at_most)


def show(title: str, figures: list[Figure]) -> None:
    """Print one benchmark's table."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("bound")
    table.add_column("against")
    for figure in figures:
        style = "" if figure.is_met else "bold red"
        table.add_row(
            figure.what,
            f"{figure.value:.3g}",
            figure.unit,
            figure.bound,
            figure.against,
            style=style,
        )
    Console(width=140).print(table)
