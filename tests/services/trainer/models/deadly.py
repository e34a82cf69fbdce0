"""A model that ends its own process, or the worker's, or can't be built on one rank."""

from __future__ import annotations

import os
import signal

from services.trainer.samples.digits import build_model as build_digits


def build_model(whose="run"):
    if whose.startswith("rank"):
        if whose == f"rank {os.environ['RANK']}":
            raise ArithmeticError(f"{whose} can't")
        return build_digits()
    os.kill(os.getpid() if whose == "run" else os.getppid(), signal.SIGKILL)
    return signal.pause()
