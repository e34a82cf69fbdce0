"""Other engines and MLflow, in environments that `python -m benchmarks.peers` builds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-peers"
MLFLOW = ROOT / ".venv-mlflow"


def measured(workload: str, accumulation_steps: int) -> dict[str, tuple[float, float]]:
    """Time the peers, each between two hand-written runs; (ratio, milliseconds over it) by name.

    Empty where the environment has not been built.
    """
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        return {}
    command = [str(python), "-m", "benchmarks.peers.measure", workload, str(accumulation_steps)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout.splitlines()[-1])
    return {name: (ratio, milliseconds) for name, (ratio, milliseconds) in rows.items()}
