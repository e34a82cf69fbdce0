"""Work: ``python -m services.trainer``."""

from __future__ import annotations

import sys

from services.trainer.settings import PREFIX, TrainerSettings
from services.trainer.worker import serve
from utils.service.logs import configure_logging
from utils.service.settings import read_settings


def main() -> int:
    """Read the settings, and work until SIGTERM."""
    settings = read_settings(TrainerSettings, PREFIX)
    configure_logging("trainer", settings.log_level)
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
