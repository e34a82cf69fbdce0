"""What the dashboards' files ask Prometheus."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "charts/training-engine/files/dashboards"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


@dataclass(frozen=True)
class Asked:
    """One expression, and where it stands."""

    board: str
    panel: str
    expr: str

    def __str__(self):
        return f"{self.board}: {self.panel}"

    def filled(self, window, namespace=""):
        """The expression with Grafana's variables filled in."""
        return (
            self.expr.replace("$__rate_interval", window)
            .replace("$__range", window)
            .replace("$namespace", namespace)
            .replace("$model", ".*")
        )


def panels():
    """Panels that ask something, rows left out, by their dashboards' names."""
    for name, board in BOARDS.items():
        yield from ((name, panel) for panel in board["panels"] if panel["type"] != "row")


QUERIES = [
    Asked(name, panel["title"], target["expr"])
    for name, panel in panels()
    for target in panel["targets"]
]
ANNOTATIONS = [
    Asked(name, note["name"], note["expr"])
    for name, board in BOARDS.items()
    for note in board["annotations"].get("list", [])
]
