"""The demonstration's state folder: wiped at each start, and never anybody else's."""

from __future__ import annotations

import shutil
from pathlib import Path

from services.cli.demo.waiting import DemoError
from services.cli.stack.state import read_state

_MARK = ".training-engine-demo"


def fresh_folder(folder: Path) -> None:
    """Make the folder, or empty it where an earlier demonstration made it.

    Raises:
        DemoError: a RuntimeError; it holds something else, or one runs in it.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise DemoError(
                f"{folder} holds files that no demonstration made; give an empty folder, or one "
                "that is not there yet, by --folder."
            )
        state = read_state(folder)
        if state is not None and state.is_running:
            raise DemoError(
                f"A demonstration runs in {folder}, process {state.pid}; end it, or give another "
                "folder by --folder."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
