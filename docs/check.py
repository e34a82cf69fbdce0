"""Check the documents: every link leads to a file, every module, name and make target exists.

python docs/check.py
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_TARGET = re.compile(r"`make ([a-z][a-z-]*)")
_PATH = re.compile(r"`((?:shared|services|tests|benchmarks|docs|docker|charts)/[\w./-]*)`")


def documents() -> list[Path]:
    """Every Markdown file that a reader is led to."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def faults(document: Path) -> Iterator[str]:
    """What a document claims and the tree does not hold."""
    text = document.read_text(encoding="utf-8")
    for target in _LINK.findall(text):
        if not (document.parent / target).exists():
            yield f"the link {target} leads nowhere"
    for path in _PATH.findall(text):
        if not (ROOT / path).exists():
            yield f"there is no {path}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in set(_TARGET.findall(text)) - targets:
        yield f"there is no make target {name}"
    for block in _BLOCK.findall(text):
        yield from _missing_imports(block)


def _missing_imports(block: str) -> Iterator[str]:
    """Imports of a code block that fail."""
    try:
        tree = ast.parse(block)
    except SyntaxError as error:
        yield f"a code block is no Python: {error}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ("utils", "services")
        ):
            module = importlib.import_module(str(node.module))
            for name in node.names:
                if not hasattr(module, name.name):
                    yield f"{node.module} has no {name.name}"


def main() -> int:
    """Print every fault; exit 1 where there is one."""
    found = [f"{d.relative_to(ROOT)}: {fault}" for d in documents() for fault in faults(d)]
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.stdout.write(f"{len(documents())} documents, {len(found)} faults\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
