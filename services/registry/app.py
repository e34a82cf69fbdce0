"""The registry's app: its stores, and the routes over them."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from services.registry import artifacts, gate, jobs, models, runs
from services.registry.metrics import RegistryMetrics
from services.registry.retention import INTERVAL_SECONDS, Retention
from services.registry.settings import RegistrySettings
from services.registry.stores import Stores
from utils.service.disk import DiskCollector
from utils.service.loops import Loop
from utils.service.web import create_web_app


def create_app(settings: RegistrySettings) -> OpenAPI:
    """The app with its routes; ``app.extensions["retention"]`` is its own work, not yet begun."""
    stores = Stores.of(settings)
    metrics = RegistryMetrics()
    metrics.registry.register(DiskCollector(settings.folders))
    app = create_web_app(
        "registry",
        settings,
        checks={"database": stores.check_database},
        # A promotion is heard of later, by those who look, while Redis is away.
        optional_checks={"redis": stores.bell.check},
        metrics=metrics.registry,
    )
    app.register_api(
        artifacts.routes(
            stores.artifacts,
            stores.checkpoints,
            metrics,
            max_bytes=settings.max_artifact_bytes,
            most_transfers=max(1, settings.threads // 2),
        )
    )
    app.register_api(models.routes(stores, metrics))
    app.register_api(gate.routes(stores, metrics))
    app.register_api(runs.routes(stores))
    app.register_api(jobs.routes(stores, settings.keep_checkpoints))
    app.extensions["retention"] = Retention(stores, metrics, settings.keep_checkpoints_days)
    return app


def create_running_app(settings: RegistrySettings) -> OpenAPI:
    """The app with its loop at work, for the process that serves it."""
    app = create_app(settings)
    retention: Retention = app.extensions["retention"]
    if settings.keep_checkpoints or settings.keep_checkpoints_days:
        Loop("retention", retention.sweep, INTERVAL_SECONDS).start()
    return app
