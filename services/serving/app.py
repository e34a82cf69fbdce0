"""Serving's app: the routes that answer, and what follows the registry behind them."""

from __future__ import annotations

import atexit

from flask_openapi3 import OpenAPI

from services.serving.gateway import plain_v1, protocol_v2
from services.serving.parts import Parts
from services.serving.settings import ServingSettings
from utils.service.web import create_web_app


def create_app(settings: ServingSettings) -> OpenAPI:
    """The app with its routes; ``app.extensions["parts"]`` has what works behind, not started."""
    parts = Parts(settings)
    app = create_web_app(
        "serving",
        settings,
        checks={"backend": parts.backend.check, "sync": parts.check_sync},
        optional_checks=parts.optional_checks,
        metrics=parts.metrics.registry,
    )
    checks = [parts.backend.check, parts.check_sync]
    app.register_api(protocol_v2.routes(parts.answering, settings.max_batch, checks))
    app.register_api(plain_v1.routes(parts.answering, settings.max_batch))
    app.extensions["parts"] = parts
    return app


def create_running_app(settings: ServingSettings) -> OpenAPI:
    """The app at work, for the process that serves it."""
    app = create_app(settings)
    parts: Parts = app.extensions["parts"]
    app.extensions["on_stop"] = [parts.begin_stop]
    parts.start()
    atexit.register(parts.close)
    return app
