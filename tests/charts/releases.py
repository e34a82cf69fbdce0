"""What each release of the chart was asked and what of it may never change: a record for upgrades.

``python -m tests.charts.releases`` writes down the chart as it is, before it is released.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from tests.charts.helm import CASES, CHART, render, values_of
from tests.charts.release import Release

FOLDER = Path(__file__).parent / "releases"
_CLAIM = ("accessModes", "storageClassName")


def unchangeable(documents):
    """What Kubernetes refuses to change, and what data is found by."""
    release = Release(documents)
    found = {}
    for document in release.of("Deployment", "StatefulSet"):
        spec = document["spec"]
        fixed = {"selector": spec["selector"]["matchLabels"]}
        if document["kind"] == "StatefulSet":
            fixed["serviceName"] = spec["serviceName"]
            fixed["claims"] = spec.get("volumeClaimTemplates", [])
            (container,) = spec["template"]["spec"]["containers"]
            fixed["mount"] = [m for m in container["volumeMounts"] if m["name"] == "data"]
            fixed["data"] = [e for e in container.get("env", []) if e["name"] == "PGDATA"]
        found[f"{document['kind']}/{document['metadata']['name']}"] = fixed
    for document in release.of("PersistentVolumeClaim"):
        fixed = {key: document["spec"][key] for key in _CLAIM if key in document["spec"]}
        found[f"PersistentVolumeClaim/{document['metadata']['name']}"] = fixed
    for document in release.of("Service"):
        headless = document["spec"].get("clusterIP") == "None"
        found[f"Service/{document['metadata']['name']}"] = {"headless": headless}
    return found


def record():
    """Write down the chart as it is, and give the folder."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    folder = FOLDER / version
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHART / "values.yaml", folder / "values.yaml")
    for case in CASES:
        shutil.copy(CHART / "ci" / f"{case}-values.yaml", folder / f"{case}-values.yaml")
    fixed = {case: unchangeable(render(*values_of(case))) for case in CASES}
    (folder / "unchangeable.json").write_text(json.dumps(fixed, indent=1, sort_keys=True) + "\n")
    return folder


if __name__ == "__main__":
    record()
