"""Serve models: ``python -m services.serving``."""

from __future__ import annotations

from functools import partial

from services.serving.app import create_running_app
from services.serving.settings import PREFIX, ServingSettings
from utils.service.logs import configure_logging
from utils.service.server import serve
from utils.service.settings import read_settings


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    settings = read_settings(ServingSettings, PREFIX)
    configure_logging("serving", settings.log_level)
    serve(partial(create_running_app, settings), settings)


if __name__ == "__main__":
    main()
