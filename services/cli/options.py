"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FOLDER = Path("var/stack")

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        envvar="TRAINCTL_FOLDER",
        help="The folder of a stack on this machine; var/stack where no TRAINING_*_URL is set.",
        file_okay=False,
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")
]
