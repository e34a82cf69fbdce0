"""The scheduler's app."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from services.scheduler.claims import claims_api
from services.scheduler.jobs import jobs_api
from services.scheduler.parts import Parts
from services.scheduler.settings import SchedulerSettings
from utils.service.web import create_web_app


def create_app(settings: SchedulerSettings) -> OpenAPI:
    """The app with its routes; ``app.extensions["parts"]`` has the loops, not yet started."""
    parts = Parts(settings)
    app = create_web_app(
        "scheduler",
        settings,
        checks={"database": parts.check_database, "redis": parts.check_redis},
        metrics=parts.metrics,
    )
    app.register_api(jobs_api(parts.manager, parts.nudge))
    app.register_api(claims_api(parts.manager, parts.nudge))
    app.extensions["parts"] = parts
    return app


def create_running_app(settings: SchedulerSettings) -> OpenAPI:
    """The app with its loops at work, for the process that serves it."""
    app = create_app(settings)
    app.extensions["parts"].start()
    return app
