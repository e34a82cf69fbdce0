"""Time the peers in their own environment; the last line of output is JSON."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings

import torch

from benchmarks.pairing import paired
from benchmarks.peers.adapters import ADAPTERS
from benchmarks.workloads import WORKLOADS


def main() -> None:
    """Measure one workload under one accumulation."""
    workload, accumulation_steps = WORKLOADS[sys.argv[1]], int(sys.argv[2])
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        found = paired(ADAPTERS, workload, accumulation_steps)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
