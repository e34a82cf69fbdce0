"""A scheduler on real servers, and its callers."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from services.scheduler.app import create_app
from services.scheduler.settings import SchedulerSettings
from utils.service.auth import Token, write_tokens
from utils.service.clients.scheduler import SchedulerClient
from utils.service.embedded.valkey import ValkeyServer

ROLES = ("reader", "submitter", "trainer", "admin")


class QuietHandler(WSGIRequestHandler):
    def log_request(self, *_):
        """Say nothing of each request."""


@pytest.fixture(scope="session")
def valkey(tmp_path_factory):
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def settings(tmp_path, postgres_url, valkey):
    tokens = tmp_path / "tokens.json"
    write_tokens(tokens, [Token.of(f"the {name}", name, f"{name}-token") for name in ROLES])
    for name in ROLES:
        (tmp_path / f"{name}.token").write_text(f"{name}-token")
    return SchedulerSettings(
        tokens_file=tokens,
        database_url=postgres_url,
        redis_url=valkey.url(),
        log_folder=tmp_path / "logs",
        event_interval_seconds=0.02,
        publish_interval_seconds=0.05,
        cron_interval_seconds=0.05,
        trigger_interval_seconds=0.05,
        rate_limit="100000/minute",
    )


@pytest.fixture
def app(settings):
    return create_app(settings)


@pytest.fixture
def parts(app):
    return app.extensions["parts"]


@pytest.fixture
def serving():
    """Serve an app over a real socket; what is given has its URL and a client for each role."""
    return contextmanager(serve)


def serve(app):
    parts = app.extensions["parts"]
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.port}"
    folder = parts.settings.tokens_file.parent
    clients = {
        name: SchedulerClient(url, folder / f"{name}.token", patience_seconds=5) for name in ROLES
    }
    yield SimpleNamespace(url=url, **clients)
    parts.stopping.set()
    for client in clients.values():
        client.close()
    server.shutdown()
    thread.join()
    server.server_close()
    parts.close()


@pytest.fixture
def web(app):
    """The app over a real socket, and a typed client for each role."""
    yield from serve(app)


@pytest.fixture
def config():
    return {
        "model_name": "digits",
        "model": {"entry_point": "models:digits"},
        "data": [{"kind": "sample", "location": "digits"}],
    }
