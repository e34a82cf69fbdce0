"""The monitor's app: its routes, and the loops behind them."""

from __future__ import annotations

import atexit

from flask_openapi3 import OpenAPI

from services.monitor.parts import Parts
from services.monitor.routes import monitor_api
from services.monitor.settings import MonitorSettings
from utils.service.web import create_web_app


def create_app(settings: MonitorSettings) -> OpenAPI:
    """The app with its routes; ``app.extensions["parts"]`` has the loops, not yet started."""
    parts = Parts(settings)
    app = create_web_app(
        "monitor",
        settings,
        checks={"redis": parts.check_redis},
        metrics=parts.metrics.registry,
    )
    app.register_api(
        monitor_api(parts.store, lambda: parts.platform.state, lambda: parts.reader.is_active)
    )
    app.extensions["parts"] = parts
    return app


def create_running_app(settings: MonitorSettings) -> OpenAPI:
    """The app with its loops at work, for the process that serves it."""
    app = create_app(settings)
    parts: Parts = app.extensions["parts"]
    app.extensions["on_stop"] = [parts.begin_stop]
    parts.start()
    atexit.register(parts.close)
    return app
