"""The scheduler's app."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from services.scheduler.alerts import alerts_api
from services.scheduler.claims import claims_api
from services.scheduler.events import events_api
from services.scheduler.jobs import jobs_api
from services.scheduler.logs import logs_api
from services.scheduler.parts import Parts
from services.scheduler.queues import queues_api
from services.scheduler.schedules import schedules_api
from services.scheduler.settings import SchedulerSettings
from services.scheduler.triggers import triggers_api
from utils.service.web import create_web_app


def create_app(settings: SchedulerSettings) -> OpenAPI:
    """The app with its routes; ``app.extensions["parts"]`` has the loops, not yet started."""
    parts = Parts(settings)
    app = create_web_app(
        "scheduler",
        settings,
        checks={"database": parts.check_database},
        # Jobs are taken, and claimed without a nudge, while Redis is away.
        optional_checks={"redis": parts.check_redis},
        metrics=parts.metrics,
    )
    for api in (
        jobs_api(parts.manager, parts.nudge),
        events_api(parts.manager, parts.streams),
        logs_api(parts.engine, parts.manager, parts.logs),
        claims_api(parts.manager, parts.nudge),
        queues_api(parts.manager),
        schedules_api(parts.schedules),
        triggers_api(parts.retraining),
        alerts_api(parts.retraining),
    ):
        app.register_api(api)
    app.extensions["parts"] = parts
    return app


def create_running_app(settings: SchedulerSettings) -> OpenAPI:
    """The app with its loops at work, for the process that serves it."""
    app = create_app(settings)
    parts: Parts = app.extensions["parts"]
    app.extensions["on_stop"] = [parts.stopping.set]
    parts.start()
    return app
