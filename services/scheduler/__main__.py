"""Serve the scheduler: ``python -m services.scheduler``."""

from __future__ import annotations

from functools import partial

from services.scheduler.app import create_running_app
from services.scheduler.settings import PREFIX, SchedulerSettings
from utils.service.logs import configure_logging
from utils.service.server import serve
from utils.service.settings import read_settings


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    settings = read_settings(SchedulerSettings, PREFIX)
    configure_logging("scheduler", settings.log_level)
    serve(partial(create_running_app, settings), settings)


if __name__ == "__main__":
    main()
