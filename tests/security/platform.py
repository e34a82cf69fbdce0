"""A whole platform to attack: its addresses, its tokens, its secrets, and what it holds."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from functools import cached_property

import httpx
import psycopg

from utils.service.auth import Token, read_tokens, write_tokens
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import ServiceClient

SERVICES = ("registry", "scheduler", "serving", "monitor")
ROLES = ("reader", "submitter", "trainer", "admin")


class Platform:
    """A running stack, and ways to speak to it; no answer may hold a secret."""

    def __init__(self, stack):
        self.stack = stack
        self.folder = stack.folder
        self.urls = {name: stack.urls[name][0] for name in SERVICES}
        self.tokens = {role: stack.token_files[role].read_text().strip() for role in ROLES}
        self.expired = self._add_expired_token()
        self.clients = {
            name: httpx.Client(base_url=url, trust_env=False, timeout=30)
            for name, url in self.urls.items()
        }
        self._services = {
            role: ServiceClient(self.urls["registry"], stack.token_files[role]) for role in ROLES
        }
        self.registry = {role: RegistryClient(client) for role, client in self._services.items()}
        self.scheduler = {
            role: SchedulerClient(self.urls["scheduler"], stack.token_files[role]) for role in ROLES
        }

    def send(self, service, method, path, role="admin", **request):
        """Send a request in a role, or with no token where the role is None."""
        headers = dict(request.pop("headers", None) or {})
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens[role]}"
        response = self.clients[service].request(method, path, headers=headers, **request)
        self.check_silence(f"{response.headers}\n{response.text}", f"{method} {path}")
        return response

    def refuses(self, service, method, path, role="admin", *, by=range(400, 500), **request):
        """See that a request is refused with a sentence, and that nothing changes by it."""
        before = self.state()
        response = self.send(service, method, path, role, **request)
        assert response.status_code in by, (response.status_code, response.text[:500])
        if method != "HEAD":
            problem = response.json()
            assert problem["status"] == response.status_code
            assert problem["detail"].rstrip().endswith((".", ")")), problem["detail"]
            assert "Traceback" not in response.text
        assert self.changes_since(before) == [], "a refused request left something behind"
        return response

    def state(self):
        """A digest of every table and the name and size of every file that callers can reach."""
        with psycopg.connect(self.database_url) as connection:
            names = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            ).fetchall()
            tables = {
                name: connection.execute(
                    f'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM "{name}" t'
                ).fetchone()[0]
                for (name,) in names
            }
        files = {
            str(path.relative_to(self.folder)): path.stat().st_size
            for place in ("artifacts", "staging", "job-logs", "data")
            for path in (self.folder / place).rglob("*")
            if path.is_file()
        }
        return tables, files

    def changes_since(self, before):
        """The tables and files that are not as they were in a former state."""
        return [
            name
            for old, new in zip(before, self.state(), strict=True)
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]

    def table_rows(self, table):
        """How many rows a table has."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]

    def document(self, service):
        """A service's OpenAPI document."""
        return self.clients[service].get("/docs/openapi.json").json()

    def put_artifact(self, content):
        """Bring bytes into the store as a trainer would, and give their digest."""
        digest = hashlib.sha256(content).hexdigest()
        headers = {"Upload-Offset": "0", "Upload-Length": str(len(content))}
        path = f"/v1/artifacts/{digest}"
        answer = self.send("registry", "PUT", path, "trainer", headers=headers, content=content)
        assert answer.status_code in (200, 201), answer.text
        return digest

    @cached_property
    def database_url(self):
        return (self.folder / "secrets" / "postgres.url").read_text().strip()

    @cached_property
    def secrets(self):
        """Every secret of the platform, by the file that it lies in."""
        return {
            path.name: path.read_text().strip()
            for path in (self.folder / "secrets").iterdir()
            if path.suffix in (".token", ".password", ".url")
        }

    def check_silence(self, text, whose):
        """See that a text holds no secret."""
        found = [name for name, secret in self.secrets.items() if secret in text]
        assert not found, f"{whose} tells {found}"

    def close(self):
        callers = (self.clients, self._services, self.scheduler)
        for client in (client for named in callers for client in named.values()):
            client.close()

    def _add_expired_token(self):
        path = self.folder / "secrets" / "tokens.json"
        text = secrets.token_urlsafe(32)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        write_tokens(path, [*read_tokens(path), Token.of("former", "admin", text, yesterday)])
        return text


def operations(document):
    """The routes of an OpenAPI document, as ``(method, path)`` in its own spelling."""
    methods = {"get", "put", "post", "delete", "patch", "head", "options"}
    return [
        (method.upper(), path)
        for path, item in sorted(document["paths"].items())
        for method in item
        if method in methods
    ]


def filled(path):
    """A route's path with something in its places."""
    values = {"digest": "0" * 64, "name": "digits", "model": "digits", "version": "1"}
    while "{" in path:
        before, _, rest = path.partition("{")
        name, _, after = rest.partition("}")
        path = f"{before}{values.get(name, 'digits' if name == 'model_name' else '1')}{after}"
    return path


def job_config(**changes):
    """A training job of the digits."""
    settings = {
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 4e-3,
        "export_formats": ["onnx"],
        "progress_bar": False,
    }
    return {
        "model_name": "digits",
        "model": {"entry_point": "services.trainer.samples.digits:build_model"},
        "data": [{"kind": "sample", "location": "digits"}],
        "validation": {"kind": "sample", "location": "digits", "part": "validation"},
        "held_out": {"kind": "sample", "location": "digits", "part": "test"},
        "training_config": settings | changes.pop("training_config", {}),
        **changes,
    }


def as_json(value):
    """JSON as Python writes it: NaN, Infinity and lone surrogates go out as they are."""
    return json.dumps(value).encode()
