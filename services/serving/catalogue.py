"""Which versions are loaded, which of a name answers, and how many requests each has in hand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from services.serving.backends.protocol import Version
from utils.service.problems import ProblemError


class UnknownModelError(ProblemError):
    """No such model, or no such version of it, is served here; answered 404."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, detail)


class Catalogue:
    """The loaded versions, safe for many threads.

    A request holds its version by :meth:`using`, so that a switch is one assignment, and the
    version before goes only when its last request has been answered.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._current: dict[str, Version] = {}
        self._loaded: dict[str, dict[str, Version]] = {}
        self._in_flight: Counter[Version] = Counter()

    def names(self) -> list[str]:
        """The names that answer, in order."""
        with self._changed:
            return sorted(self._current)

    def versions(self, name: str) -> list[Version]:
        """The versions of a name that can be asked for; more than one while it switches."""
        with self._changed:
            return list(self._loaded.get(name, {}).values())

    def current(self, name: str) -> Version | None:
        """The version that answers for a name, or None."""
        with self._changed:
            return self._current.get(name)

    @contextmanager
    def using(self, name: str, version: str | None = None) -> Iterator[Version]:
        """Hold a version, the current one where none is named, for the length of one request.

        Raises:
            UnknownModelError: a ProblemError; it is not served here.
        """
        with self._changed:
            held = self._find(name, version)
            self._in_flight[held] += 1
        try:
            yield held
        finally:
            with self._changed:
                self._in_flight[held] -= 1
                if not self._in_flight[held]:
                    del self._in_flight[held]
                    self._changed.notify_all()

    def switch(self, version: Version) -> Version | None:
        """Let a loaded version answer for its name from now on; return the one before."""
        with self._changed:
            before = self._current.get(version.name)
            self._loaded.setdefault(version.name, {})[version.version] = version
            self._current[version.name] = version
            return before

    def retire(self, version: Version, deadline_seconds: float) -> bool:
        """Take a version out, and wait until no request uses it; False where some still do."""
        with self._changed:
            self._take_out(version)
            return self._changed.wait_for(
                lambda: version not in self._in_flight, timeout=deadline_seconds
            )

    def _find(self, name: str, version: str | None) -> Version:
        if name not in self._current:
            known = ", ".join(sorted(self._current)) or "none"
            raise UnknownModelError(f"The model {name} is not served here; served are: {known}.")
        if version is None:
            return self._current[name]
        if version not in self._loaded[name]:
            known = ", ".join(sorted(self._loaded[name]))
            raise UnknownModelError(
                f"The version {version} of {name} is not served here; served are: {known}."
            )
        return self._loaded[name][version]

    def _take_out(self, version: Version) -> None:
        loaded = self._loaded.get(version.name, {})
        if loaded.get(version.version) == version:
            del loaded[version.version]
        if self._current.get(version.name) == version:
            del self._current[version.name]
        if not loaded:
            self._loaded.pop(version.name, None)
