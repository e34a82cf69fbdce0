"""What the demonstration claims, and whether it was true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One sentence, and whether it held."""

    sentence: str
    holds: bool


class Verdict:
    """Collects claims; a claim that does not hold is shown at once, and fails the whole.

    Args:
        wanted: how many claims the whole story makes: fewer mean that it was not told to its end.
        show: takes the sentence of a claim that failed.
    """

    def __init__(self, wanted: int, show: Callable[[str], None]) -> None:
        self.claims: list[Claim] = []
        self._wanted = wanted
        self._show = show

    def claim(self, sentence: str, *, holds: bool) -> bool:
        """Note a claim; returns whether it held."""
        self.claims.append(Claim(sentence, holds))
        if not holds:
            self._show(f"NOT TRUE: {sentence}")
        return holds

    @property
    def failures(self) -> list[str]:
        """The sentences that were not true."""
        failed = [claim.sentence for claim in self.claims if not claim.holds]
        if len(self.claims) < self._wanted:
            failed.append(f"Only {len(self.claims)} of {self._wanted} claims were reached.")
        return failed

    @property
    def exit_code(self) -> int:
        """0 where every claim was made and held."""
        return 1 if self.failures else 0
