"""Try every fault, and print the table: ``python -m tests.chaos [what pytest takes]``."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.report import Report

if __name__ == "__main__":
    tests = [test for fault in FAULTS for test in fault.tests]
    arguments = ["--timeout", "1800", *sys.argv[1:], *tests]
    sys.exit(pytest.main(arguments, plugins=[Report()]))
