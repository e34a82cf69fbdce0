"""Work: ``python -m services.trainer``."""

from __future__ import annotations

import sys

from services.trainer.group.following import follow
from services.trainer.settings import PREFIX, TrainerSettings
from services.trainer.worker import serve
from utils.service.logs import configure_logging
from utils.service.settings import read_settings


def main() -> int:
    """Read the settings, and work until SIGTERM: claim jobs, or follow the node that does."""
    settings = read_settings(TrainerSettings, PREFIX)
    configure_logging("trainer", settings.log_level)
    return follow(settings) if settings.follows else serve(settings)


if __name__ == "__main__":
    sys.exit(main())
