"""Write the chart's README from its values: ``python charts/readme.py``.

Every key needs a comment, beside it or on the lines above it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parent / "training-engine"
_BESIDE = re.compile(r"\s#\s(.*)$")
_KEYS_OF_THE_CLUSTER = ("requests", "limits")  # what stands below them is Kubernetes' own


@dataclass(frozen=True)
class Key:
    """One key of the values; ``default`` is None for a section."""

    path: str
    comment: str
    default: str | None


def keys(text: str) -> Iterator[Key]:
    """Every key of the values, in their order."""
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _keys_of(root, "", text.splitlines())


def _keys_of(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Key]:
    for name, value in node.value:
        path = f"{prefix}{name.value}"
        is_section = isinstance(value, yaml.MappingNode) and not value.flow_style
        comment = _comment(lines, name.start_mark.line)
        yield Key(path, comment, None if is_section else _default(value))
        if is_section and name.value not in _KEYS_OF_THE_CLUSTER:
            yield from _keys_of(value, f"{path}.", lines)


def _comment(lines: list[str], number: int) -> str:
    beside = _BESIDE.search(lines[number])
    if beside:
        return beside[1]
    above: list[str] = []
    while number > 0 and lines[number - 1].lstrip().startswith("# "):
        number -= 1
        above.insert(0, lines[number].strip().removeprefix("# "))
    return " ".join(above)


def _default(node: yaml.Node) -> str:
    return json.dumps(yaml.safe_load(yaml.serialize(node)))


def readme() -> str:
    """The whole document.

    Raises:
        SystemExit: a key has no comment.
    """
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    every = list(keys(text))
    bare = [key.path for key in every if not key.comment]
    if bare:
        sys.exit(f"These keys have no comment: {', '.join(bare)}; say what each is for.")
    template = (CHART / "README.md.tmpl").read_text(encoding="utf-8")
    return template.replace("@VALUES@", "\n".join(_tables(every)))


def _tables(every: list[Key]) -> Iterator[str]:
    for section in dict.fromkeys(key.path.partition(".")[0] for key in every):
        own = [key for key in every if key.path == section or key.path.startswith(f"{section}.")]
        if own[0].default is None:
            yield f"\n### {section}\n\n{own[0].comment}\n"
        if own[0].default is None or section == every[0].path:
            yield "| key | what it is | default |\n| --- | --- | --- |"
        yield from (_row(key) for key in own if key.path != section or key.default is not None)


def _row(key: Key) -> str:
    comment = key.comment.replace("|", "\\|")
    default = "" if key.default is None else f"`{key.default}`"
    return f"| `{key.path}` | {comment} | {default} |"


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
