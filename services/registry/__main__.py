"""Serve the registry: ``python -m services.registry``."""

from __future__ import annotations

from services.registry.app import create_running_app
from services.registry.settings import PREFIX, RegistrySettings
from utils.service.logs import configure_logging
from utils.service.server import serve
from utils.service.settings import read_settings


def main() -> None:
    """Read the settings, and answer until SIGTERM."""
    settings = read_settings(RegistrySettings, PREFIX)
    configure_logging("registry", settings.log_level)
    serve(lambda: create_running_app(settings), settings)


if __name__ == "__main__":
    main()
