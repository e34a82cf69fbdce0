"""``python -m services.cli.demo``: the same as ``trainctl demo``."""

from __future__ import annotations

import typer

from services.cli.demo.command import demo

if __name__ == "__main__":
    typer.run(demo)
