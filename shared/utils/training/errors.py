"""The errors of the library and the words they share.

Every message is one sentence or two: what was given, what is allowed, what to do.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class TrainingError(Exception):
    """Root of every error that this library raises on purpose."""


class InvalidArgumentError(TrainingError, ValueError):
    """A value that a call can't take; the message says which it can."""


class WrongTypeError(TrainingError, TypeError):
    """An argument of a kind that a call can't take; the message says which it can."""

    def __init__(self, name: str, given: str, allowed: str, advice: str = "") -> None:
        end = f"; {advice}." if advice else "."
        super().__init__(f"{name} is {given}, allowed is {allowed}{end}")


class UnknownNameError(TrainingError, ValueError):
    """A name that no registry, config or schema knows; the message offers the nearest one."""

    def __init__(self, kind: str, given: object, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        near = get_close_matches(str(given), names, n=1, cutoff=0.5)
        hint = f" Did you mean: {near[0]}?" if near else ""
        super().__init__(f"Unknown {kind} '{given}'. Available: {', '.join(names)}.{hint}")


class InvalidConfigError(TrainingError, ValueError):
    """One or more faults in a configuration, all of them listed."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"Invalid configuration, {count}:\n" + "\n".join(f"- {f}" for f in faults))


class MissingDependencyError(TrainingError, ImportError):
    """An optional library that a feature needs and that is not installed."""

    def __init__(self, library: str, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs {library}, which is not installed: "
            f"pip install 'training-engine[{extra}]'."
        )
