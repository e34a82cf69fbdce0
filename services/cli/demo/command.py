"""The command: ``trainctl demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.options import AsJson
from services.cli.output import print_json
from services.cli.stack.options import Backend

_PIPE_WIDTH = 100


def demo(
    folder: Annotated[
        Path, typer.Option(help="Where its state lies; an earlier demonstration's is wiped.")
    ] = Path("var/demo"),
    backend: Annotated[Backend, typer.Option(help="What serves the models.")] = "torchserve",
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Let the platform stay up until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the closed loop on real scans: train, serve, drift, retrain, recover.

    It exits 0 only if everything that it claims was true, and nothing is left running. With
    --json the story is told on standard error.

    $ trainctl demo --backend onnx
    """
    from services.cli.demo.run import run

    stream = sys.stderr if as_json else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    ending = run(
        folder.absolute(), backend, Console(file=stream, width=width, markup=False), keep=keep
    )
    if as_json:
        print_json(ending)
    raise typer.Exit(ending.exit_code)
