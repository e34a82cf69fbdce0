"""The tokens of texts: how often each occurs, and how much the texts differ in it.

Tokens of one text are no independent draws, so a test that took them for such would call every
pair of data sets different. The profile therefore also keeps, for a fixed partition of the
vocabulary into :data:`GROUPS` groups, the sums from which the variance *between documents* of a
group's share follows (the ratio estimator of cluster sampling; Cochran, "Sampling Techniques",
6.3). All sums are whole numbers: merging is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

VOCABULARY = 1 << 16  # ids beyond it, and words, share these numbers
GROUPS = 32
TOP_TOKENS = 50  # of the reference, each a cell of the JS divergence


@dataclass(frozen=True, eq=False)
class TokenFeature:
    """Counts of tokens, and their variation between documents.

    ``counts`` is [VOCABULARY]. For each group of tokens, with x its tokens in a document and l the
    document's length: ``squares`` is the sum of x * x and ``products`` of x * l, [GROUPS] each;
    ``length_squares`` is the sum of l * l.
    """

    counts: Ints
    squares: Ints
    products: Ints
    length_squares: int = 0
    documents: int = 0

    kind = "tokens"

    @classmethod
    def empty(cls) -> TokenFeature:
        """No documents yet."""
        sums = np.zeros(GROUPS, dtype=np.int64)
        return cls(np.zeros(VOCABULARY, dtype=np.int64), sums, sums)

    def window(self) -> TokenFeature:
        """An empty feature: the vocabulary is the same for all."""
        return self.empty()

    def absent(self, rows: int) -> TokenFeature:
        """So many documents without a token."""
        empty = self.empty()
        return TokenFeature(empty.counts, empty.squares, empty.products, documents=rows)

    @property
    def rows(self) -> int:
        """How many documents were counted."""
        return self.documents

    @property
    def total(self) -> int:
        """How many tokens were counted."""
        return int(self.counts.sum())

    def add(self, documents: Sequence[Ints]) -> TokenFeature:
        """Count documents, each its tokens' ids [length]."""
        lengths = np.array([len(document) for document in documents], dtype=np.int64)
        tokens = np.concatenate([np.zeros(0, dtype=np.int64), *documents]) % VOCABULARY
        owners = np.repeat(np.arange(len(documents)), lengths)
        cells = np.bincount(owners * GROUPS + _group(tokens), minlength=len(documents) * GROUPS)
        table = cells.reshape(len(documents), GROUPS)
        return self.merge(
            TokenFeature(
                counts=np.bincount(tokens, minlength=VOCABULARY),
                squares=(table * table).sum(axis=0),
                products=lengths @ table,
                length_squares=int(lengths @ lengths),
                documents=len(documents),
            )
        )

    def merge(self, other: TokenFeature) -> TokenFeature:
        """Add another's counts, exactly."""
        return TokenFeature(
            self.counts + other.counts,
            self.squares + other.squares,
            self.products + other.products,
            self.length_squares + other.length_squares,
            self.documents + other.documents,
        )

    def paired_cells(self, current: TokenFeature) -> tuple[Ints, Ints]:
        """Counts of the reference's most frequent tokens, of all others, and of unseen ones."""
        top = np.argsort(-self.counts, kind="stable")[:TOP_TOKENS]
        is_unseen = self.counts == 0
        return _top_cells(self.counts, top, is_unseen), _top_cells(current.counts, top, is_unseen)

    def unseen_tokens(self) -> int:
        """How many of these tokens would be unseen without themselves: those that occur once.

        Good's and Turing's estimate of what new data of the same kind hold of unseen tokens.
        """
        return int(np.count_nonzero(self.counts == 1))

    def unknown_share(self, current: TokenFeature) -> float:
        """The share of the current tokens that this reference never saw."""
        return float(current.counts[self.counts == 0].sum() / max(current.total, 1))

    @property
    def design_effect(self) -> float:
        """By how much the documents make the shares vary more than independent tokens would."""
        total, shares = self.total, self.shares(self.total)
        if total == 0 or self.documents < 2:  # noqa: PLR2004 - a variance
            return 1.0
        variances = self.residuals(shares) * self.documents / (self.documents - 1) / total**2
        independent = float((shares * (1 - shares)).sum()) / total
        return float(variances.sum()) / independent if independent > 0 else 1.0

    def p_value(self, current: TokenFeature) -> float:
        """P-value of the groups' shares, by the variance between documents (Bonferroni)."""
        documents, total = self.documents + current.documents, self.total + current.total
        if min(self.total, current.total) == 0:
            return 1.0
        both = self.merge(current)
        variances = both.residuals(both.shares(total)) / (documents - 1)
        weight = self.documents / self.total**2 + current.documents / current.total**2
        shift = current.shares(current.total) - self.shares(self.total)
        varies = variances > 0
        z = np.abs(shift[varies]) / np.sqrt(variances[varies] * weight)
        strongest = float(z.max(initial=0.0))
        return min(1.0, len(z) * math.erfc(strongest / math.sqrt(2)))

    def shares(self, total: int) -> Floats:
        """Each group's share of so many tokens: [GROUPS]."""
        return np.bincount(_group(np.arange(VOCABULARY)), weights=self.counts) / max(total, 1)

    def residuals(self, shares: Floats) -> Floats:
        """Sum over documents of (x - share * l) squared: [GROUPS]."""
        sums = self.squares - 2 * shares * self.products + shares**2 * self.length_squares
        return np.maximum(sums, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the ids that occur, as steps from one to the next, and the sums."""
        ids = np.flatnonzero(self.counts)
        return {
            "kind": self.kind,
            "documents": self.documents,
            "id_steps": np.diff(ids, prepend=0).tolist(),
            "counts": self.counts[ids].tolist(),
            "squares": self.squares.tolist(),
            "products": self.products.tolist(),
            "length_squares": self.length_squares,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TokenFeature:
        """Read :meth:`to_dict`'s form."""
        counts = np.zeros(VOCABULARY, dtype=np.int64)
        counts[np.cumsum(np.array(values["id_steps"], dtype=np.int64))] = values["counts"]
        squares, products = (
            np.array(values[name], dtype=np.int64) for name in ("squares", "products")
        )
        return cls(counts, squares, products, values["length_squares"], values["documents"])


def _group(tokens: Ints) -> Ints:
    """Scatter ids over the groups: the five highest bits of Knuth's multiplicative hash."""
    return (tokens * 2654435761 & 0xFFFF_FFFF) >> 27


def _top_cells(counts: Ints, top: Ints, is_unseen: NDArray[np.bool_]) -> Ints:
    unseen = counts[is_unseen].sum()
    named = np.where(is_unseen[top], 0, counts[top])
    return np.concatenate([named, [counts.sum() - named.sum() - unseen, unseen]])
