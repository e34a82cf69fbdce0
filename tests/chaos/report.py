"""A pytest plugin that turns outcomes into the table of faults.

A test says with ``record_property`` how often it tried (``tried``) and how long each recovery took
(``seconds``); one that says nothing tried once and had nothing to recover.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.chaos.faults import FAULTS


@dataclass
class Tally:
    """What a fault's tests came to."""

    tried: int = 0
    held: int = 0
    skipped: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, report):
        said = list(report.user_properties)
        tried = sum(value for name, value in said if name == "tried") or 1
        self.seconds += [value for name, value in said if name == "seconds"]
        if report.skipped:
            self.skipped += 1
            return
        self.tried += tried
        self.held += tried if report.passed else 0

    @property
    def verdict(self):
        if self.tried == self.held:
            return "held" if self.tried else "not tried"
        return f"FAILED {self.tried - self.held}"

    @property
    def recovery(self):
        if not self.seconds:
            return "–"
        return f"{median(self.seconds):.1f} / {max(self.seconds):.1f}"


class Report:
    """Collects what the tests say."""

    def __init__(self):
        self._rows = {test: fault.name for fault in FAULTS for test in fault.tests}
        self.tallies = {fault.name: Tally() for fault in FAULTS}

    def pytest_runtest_logreport(self, report):
        is_outcome = report.when == "call" or not report.passed
        row = self._rows.get(report.nodeid.partition("[")[0])
        if is_outcome and row is not None:
            self.tallies[row].add(report)

    def pytest_terminal_summary(self):
        Console(width=150).print(self.table())

    def table(self):
        table = Table("Fault", "Tried", "Verdict", "What must hold", "Seconds to recover")
        for fault in FAULTS:
            tally = self.tallies[fault.name]
            if tally.tried or tally.skipped:
                table.add_row(
                    fault.name, str(tally.tried), tally.verdict, fault.holds, tally.recovery
                )
        table.caption = "Seconds: median / longest, from the fault until all is well again."
        return table
