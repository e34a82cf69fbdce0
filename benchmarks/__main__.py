"""Run the benchmarks: all of them, or those named (`python -m benchmarks step checkpoint`)."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from benchmarks.figures import show

HELPERS = {
    "__main__",
    "digits_bundle",
    "figures",
    "http_load",
    "interleaving",
    "pairing",
    "peers",
    "pgbench",
    "processes",
    "training_script",
    "usage",
    "workloads",
}


def names() -> list[str]:
    """Every module of this folder that has figures to measure."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in found if name not in HELPERS)


def main() -> None:
    """Run and show each benchmark; figures out of bounds are red."""
    for name in sys.argv[1:] or names():
        module = importlib.import_module(f"benchmarks.{name}")
        title = (module.__doc__ or name).splitlines()[0]
        show(f"{name}: {title}", module.run())


if __name__ == "__main__":
    main()
