"""The real worker, with claim, lease, heartbeat and supervision; its jobs are small."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

from services.trainer.group import nodes
from services.trainer.settings import PREFIX, TrainerSettings
from services.trainer.worker import serve
from utils.service.settings import read_settings

if __name__ == "__main__":
    small_run = [sys.executable, str(Path(__file__).with_name("small_run.py"))]
    with patch.object(nodes, "command", lambda _: small_run):
        sys.exit(serve(read_settings(TrainerSettings, PREFIX)))
