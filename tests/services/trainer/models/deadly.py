"""A model that ends its own process, or the worker's."""

from __future__ import annotations

import os
import signal


def build_model(whose="run"):
    os.kill(os.getpid() if whose == "run" else os.getppid(), signal.SIGKILL)
    signal.pause()
