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
    found = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for name, adapter in ADAPTERS.items():  # one by one, for two of them share global state
            found |= paired({name: adapter}, workload, accumulation_steps)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
