"""Which modules declare tables."""

from __future__ import annotations

import importlib
from pathlib import Path

from utils.training.database.columns import metadata


def declare_all() -> None:
    """Import every module of ``utils.training`` that declares a table on the common metadata."""
    library = Path(__file__).parents[1]
    for file in sorted(library.rglob("*.py")):
        code = file.read_text(encoding="utf-8")
        if "utils.training.database import" in code and "= Table(" in code:
            name = ".".join(file.relative_to(library).with_suffix("").parts)
            importlib.import_module(f"utils.training.{name.removesuffix('.__init__')}")
    assert metadata.tables
