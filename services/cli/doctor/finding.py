"""What the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, why it matters, what to do; each a sentence."""

    severity: Severity
    subject: str
    what: str
    why: str
    remedy: str
