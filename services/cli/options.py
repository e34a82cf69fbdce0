"""The options that commands share."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FOLDER = Path("var/stack")
_FOLDER_VARIABLE = "TRAINCTL_FOLDER"

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        envvar=_FOLDER_VARIABLE,
        help="The folder of a stack on this machine; var/stack where no TRAINING_*_URL is set.",
        file_okay=False,
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")
]


def command_for(folder: Path, words: str) -> str:
    """A command as it is typed for the stack in this folder."""
    meant = Path(os.environ.get(_FOLDER_VARIABLE) or DEFAULT_FOLDER).absolute()
    return f"trainctl {words}" + (
        "" if folder == meant else f" --folder {shlex.quote(str(folder))}"
    )
