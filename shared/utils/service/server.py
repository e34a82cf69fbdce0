"""Serve an app: one process, many threads, a clean end on SIGTERM."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from utils.service.settings import WebSettings

_GRACE_SECONDS = 25  # within the 30 that an orchestrator gives


class PlainLogger(Logger):
    """Gunicorn's own messages, through this process's logging like all others."""

    def setup(self, cfg: Config) -> None:
        """Drop gunicorn's handlers."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.loglevel = logging.INFO
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Worker(ThreadWorker):
    """A process that answers, and tells the app when it is to end.

    The app's ``extensions["on_stop"]`` lists what is called then, in a signal handler: something
    short, such as the ``set`` of an event that streams and loops look at.
    """

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin the graceful end."""
        for stop in getattr(getattr(self, "wsgi", None), "extensions", {}).get("on_stop", ()):
            stop()
        super().handle_exit(sig, frame)


class _Server(BaseApplication):
    """Gunicorn, configured by our settings and not by its command line."""

    def __init__(self, build: Callable[[], Flask], options: Mapping[str, Any]) -> None:
        self._build = build
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._build()


def serve(build: Callable[[], Flask], settings: WebSettings) -> None:
    """Build the app in the serving process and answer until SIGTERM.

    Connections and threads that ``build`` opens belong to that process alone; the parent restarts
    it when it dies.
    """
    _Server(
        build,
        {
            "bind": f"{settings.host}:{settings.port}",
            "worker_class": "utils.service.server.Worker",
            "workers": 1,
            "threads": settings.threads,
            "graceful_timeout": _GRACE_SECONDS,
            "timeout": 0,  # long uploads and event streams are no hang
            "keepalive": 75,
            "control_socket_disable": True,
            "accesslog": None,
            "logger_class": "utils.service.server.PlainLogger",
        },
    ).run()
