"""The table leaves no test out, and names none that is not there."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.chaos.faults import FAULTS

ROOT = Path(__file__).parents[2]
NAMED = {test for fault in FAULTS for test in fault.tests}


def functions_of(path):
    tree = ast.parse((ROOT / path).read_text())
    names = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return {f"{path}::{name}" for name in names if name.startswith("test_")}


def test_each_test_of_the_table_is_there():
    files = {test.partition("::")[0] for test in NAMED}
    assert set().union(*map(functions_of, files)) >= NAMED


def test_each_test_of_this_folder_is_in_the_table():
    own = Path(__file__).parent.glob("test_*.py")
    paths = {str(path.relative_to(ROOT)) for path in own if path != Path(__file__)}
    assert set().union(*map(functions_of, paths)) <= NAMED
