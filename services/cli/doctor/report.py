"""The doctor's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.cli.doctor.finding import Finding
from services.cli.output import coloured, console, print_json, say

_COLOURS = {"error": "bold red", "warning": "yellow"}


def report(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print what was found, errors first."""
    ordered = sorted(findings, key=lambda finding: finding.severity)
    if as_json:
        print_json({"healthy": not findings, "findings": ordered})
        return
    screen = console()
    for finding in ordered:
        severity = coloured(finding.severity, _COLOURS[finding.severity])
        screen.print(severity, f"{finding.subject}: {finding.what}", markup=False)
        screen.print(f"  why: {finding.why}", markup=False)
        screen.print(f"  do:  {finding.remedy}", markup=False)
    counts = Counter(finding.severity for finding in findings)
    if findings:
        say(", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items()))
    else:
        say("Everything is as it should be.")
