"""How many objects of each kind a case makes: ``python -m tests.charts.counts`` prints it."""

from __future__ import annotations

from collections import Counter

from tests.charts.helm import CASES, render, values_of


def counts(documents_of):
    """The Markdown table, from a function that gives a case's objects."""
    found = {case: Counter(d["kind"] for d in documents_of(case)) for case in CASES}
    rows = [["kind", *CASES], ["---", *["---:"] * len(CASES)]]
    rows += [
        [kind, *(str(found[case][kind] or "") for case in CASES)]
        for kind in sorted(set().union(*found.values()))
    ]
    rows.append(["all", *(str(found[case].total()) for case in CASES)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(counts(lambda case: render(*values_of(case))))  # noqa: T201
