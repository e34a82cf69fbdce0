"""Grafana's dashboards; ``python -m charts.dashboards`` writes them into the chart."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from charts.dashboards import loop, platform, serving, training

FOLDER = Path(__file__).parents[1] / "training-engine/files/dashboards"

BUILDERS = {
    "loop": loop.build,
    "training": training.build,
    "serving": serving.build,
    "platform": platform.build,
}


def render(name: str) -> str:
    """One dashboard's file."""
    made = BUILDERS[name]().build()
    for place, panel in enumerate(made.panels or [], 1):
        panel.id_val = place
    return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
