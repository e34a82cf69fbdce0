"""Containers of docker or podman, with the limits that the compose file gives them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ENGINE = os.environ.get("ENGINE", "podman")

_OPTIONS = {
    "--cap-drop": "cap_drop",
    "--memory": "mem_limit",
    "--pids-limit": "pids_limit",
    "--security-opt": "security_opt",
    "--shm-size": "shm_size",
    "--tmpfs": "tmpfs",
}


def engine(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of the engine, and give what it printed."""
    done = subprocess.run([ENGINE, *words], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{ENGINE} {words[0]} failed: {done.stderr.strip()}")
    return done


def once(
    image: str, *command: str, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command in a container of its own, without network, and give what it printed."""
    words = ("run", "--rm", "--no-healthcheck", "--network", "none", "--entrypoint", "")
    return engine(*words, *options, image, *command, check=False)


class Container:
    """A service of the compose file on the host's network.

    Args:
        name: of the container.
        service: its part of the compose file.
        environment: in place of the compose file's.
        secrets: the folder of the secrets' files.
        mounts: folders of this machine by their place in the container, read-only.
    """

    def __init__(
        self,
        name: str,
        service: Mapping[str, Any],
        environment: Mapping[str, str],
        secrets: Path,
        mounts: Mapping[str, Path] | None = None,
    ) -> None:
        self.name = name
        self.image: str = service["image"]
        self._service = service
        self._environment = environment
        self._secrets = secrets
        self._mounts = mounts or {}

    def start(self) -> None:
        """Start it in the background."""
        engine("run", "--detach", "--name", self.name, *self._options(), *self._command())

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return engine("exec", self.name, *command, check=False)

    def stop(self) -> tuple[int, float]:
        """SIGTERM, then SIGKILL after its grace period; give the exit code and that period."""
        grace = self._service["stop_grace_period"].removesuffix("s")
        engine("stop", "--time", grace, self.name)
        return self.exit_code(), float(grace)

    def wait(self) -> int:
        """Wait until it ends by itself, and give its exit code."""
        return int(engine("wait", self.name).stdout)

    def is_running(self) -> bool:
        """Has it not ended?"""
        return bool(self._state()["Running"])

    def exit_code(self) -> int:
        """How it ended."""
        return int(self._state()["ExitCode"])

    def logs(self) -> str:
        """What it printed."""
        done = engine("logs", self.name, check=False)
        return done.stdout + done.stderr

    def remove(self) -> None:
        """Remove it with its volumes."""
        engine("rm", "--force", "--volumes", self.name, check=False)

    def health_command(self) -> list[str]:
        """What its image asks to learn whether it lives."""
        image = json.loads(engine("image", "inspect", self.image).stdout)[0]
        health = image.get("Healthcheck") or image["Config"]["Healthcheck"]
        kind, *command = health["Test"]
        assert kind == "CMD"
        return command

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(engine("inspect", self.name).stdout)[0]["State"]
        return state

    def _options(self) -> Iterator[str]:
        service = self._service
        yield from ("--network", "host", "--no-healthcheck")
        if service["read_only"]:
            yield "--read-only"
        for option, key in _OPTIONS.items():
            values = service.get(key, [])
            for value in values if isinstance(values, list) else [values]:
                yield from (option, str(value).removesuffix(":true"))
        for name, value in self._environment.items():
            yield from ("--env", f"{name}={value}")
        for secret in service.get("secrets", ()):
            yield from ("--volume", f"{self._secrets / secret}:/run/secrets/{secret}:ro")
        places = (
            volume.removesuffix(":ro").rpartition(":")[2] for volume in service.get("volumes", ())
        )
        for place in places:
            if place not in self._mounts:
                yield from ("--volume", place)
        for place, folder in self._mounts.items():
            yield from ("--volume", f"{folder}:{place}:ro")

    def _command(self) -> Iterator[str]:
        entry, *arguments = self._service.get("entrypoint", [None])
        if entry is not None:
            yield from ("--entrypoint", entry)
        yield self.image
        yield from arguments
        yield from self._service.get("command", ())
