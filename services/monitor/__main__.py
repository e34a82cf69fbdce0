"""Serve the monitor: ``python -m services.monitor``."""

from __future__ import annotations

from functools import partial

from services.monitor.app import create_running_app
from services.monitor.settings import PREFIX, MonitorSettings
from utils.service.logs import configure_logging
from utils.service.server import serve
from utils.service.settings import read_settings


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    settings = read_settings(MonitorSettings, PREFIX)
    configure_logging("monitor", settings.log_level)
    serve(partial(create_running_app, settings), settings)


if __name__ == "__main__":
    main()
