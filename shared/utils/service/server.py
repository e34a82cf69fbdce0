"""Serve an app: one process, many threads, a clean end on SIGTERM."""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from utils.service.settings import WebSettings

_GRACE_SECONDS = 25  # within the 30 that an orchestrator gives
_LINGER_MILLISECONDS = 5  # for the next request of a connection


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

    A thread that has answered waits a moment for the next request of the same connection, while
    another thread is free for other connections: gunicorn hands a connection over to its main
    thread and back between two requests, which costs a caller that asks in turns as much as a
    short answer takes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._num_busy = 0
        self._counting = threading.Lock()

    def handle(self, conn: Any) -> Any:
        """Answer a connection's request, and those that follow at once."""
        with self._counting:
            self._num_busy += 1
        try:
            keeps_open = super().handle(conn)
            while keeps_open is True and self._is_thread_free() and _has_request(conn):
                keeps_open = super().handle(conn)
        finally:
            with self._counting:
                self._num_busy -= 1
        return keeps_open

    def _is_thread_free(self) -> bool:
        return self.alive and self._num_busy < self.cfg.threads

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin the graceful end."""
        for stop in getattr(getattr(self, "wsgi", None), "extensions", {}).get("on_stop", ()):
            stop()
        super().handle_exit(sig, frame)


def _has_request(conn: Any) -> bool:
    """True where a connection's next request is there, or begins within a moment."""
    if conn.parser.unreader.buf.getvalue():  # it came together with the one before
        return True
    poll = select.poll()
    poll.register(conn.sock, select.POLLIN)
    return bool(poll.poll(_LINGER_MILLISECONDS))


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
