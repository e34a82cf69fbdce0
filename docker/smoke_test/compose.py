"""The compose file as the engine would read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "compose.yaml"

_VARIABLE = re.compile(r"\$\{(\w+):-([^{}]*)\}")


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file, with ``${NAME:-default}`` taken from ``variables`` and ``$$`` made ``$``."""
    text = FILE.read_text(encoding="utf-8")
    count = 1
    while count:  # a default may hold another variable
        text, count = _VARIABLE.subn(lambda found: variables.get(found[1]) or found[2], text)
    document: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return document
