"""What an image is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from docker.smoke_test.engine import engine, once

UID = "10001"
_TOOLS = ("gcc", "cc", "g++", "c++", "clang", "ld", "as", "make", "git", "curl", "wget")
_CACHES = r"""
find / -xdev \( -path /proc -o -path /sys -o -path '*/ensurepip/_bundled' \) -prune -o \
    \( -name '*.whl' -o -path '*/.cache/*' -o -path '/build/*' -o -path '*/apt/lists/*_*' \) -print
"""
_WRITABLE = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune -o \
    -writable ! -type l -print
"""
_ALLOWED = ("/tmp", "/var/tmp", "/run/lock", "/var/lib/training-engine")  # noqa: S108
_MEGABYTE = 1e6


def faults_of(image: str, base: str, *, has_torch: bool, most_megabytes: float) -> Iterator[str]:
    """What should not be so, a sentence each; the megabytes are those over the base."""
    user = once(image, "id", "-u").stdout.strip()
    if user != UID:
        yield f"its user is {user!r}"
    tools = once(image, "sh", "-c", f"command -v {' '.join(_TOOLS)}").stdout.split()
    if tools:
        yield f"it has {', '.join(tools)}"
    caches = once(image, "sh", "-c", _CACHES, options=("--user", "0")).stdout.split()
    if caches:
        yield f"it keeps {len(caches)} files of its making, such as {caches[0]}"
    writable = once(image, "sh", "-c", _WRITABLE).stdout.split()
    too_open = [path for path in writable if not path.startswith(_ALLOWED)]
    if too_open:
        yield f"its user may write to {len(too_open)} places, such as {too_open[0]}"
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    if (once(image, "python", "-c", look).returncode == 0) != has_torch:
        yield "it lacks torch" if has_torch else "it has torch"
    over = _megabytes(image) - _megabytes(base)
    if over > most_megabytes:
        yield f"it is {over:.0f} MB over the base, and {most_megabytes:.0f} are allowed"


def size_of(image: str, base: str) -> str:
    """Megabytes over the base, and of each layer."""
    base_layers = len(engine("history", "--format", "{{.Size}}", base).stdout.splitlines())
    sizes = engine("history", "--format", "{{.Size}}", image).stdout.splitlines()
    own = [size.replace(" ", "") for size in sizes[: len(sizes) - base_layers]]
    over = _megabytes(image) - _megabytes(base)
    return f"{over:.0f} MB over the base: " + " + ".join(
        size for size in reversed(own) if not size.startswith("0B")
    )


def revision_of(image: str) -> str:
    """The commit that an image was made from."""
    return str(_inspected(image)["Config"]["Labels"]["org.opencontainers.image.revision"])


def _megabytes(image: str) -> float:
    return float(_inspected(image)["Size"]) / _MEGABYTE


def _inspected(image: str) -> Any:
    (found,) = json.loads(engine("image", "inspect", image).stdout)
    return found
