"""What the registry says of the versions that were seen, fetched apart from the reading."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.monitor.windows.open_window import Key
from utils.service.clients.registry import RegistryClient
from utils.service.contracts.document import MAX_PAGE
from utils.training.model_registry import RegisteredModel

_MOST_VERSIONS = 200  # kept in memory


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A version; ``model`` is None where the registry does not know it."""

    model: RegisteredModel | None
    reference: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Production:
    """The production version of a name, since when, and the one before it if it was promoted."""

    model: RegisteredModel
    since: datetime
    former: RegisteredModel | None


class Models:
    """A copy of what the monitor needs to know; it stays as it is while the registry is away."""

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry
        self._known: dict[Key, KnownModel] = {}
        self._production: dict[str, Production] = {}
        self._wanted: dict[str, set[str]] = {}
        self._guard = threading.Lock()
        self.wake = threading.Event().set  # replaced by the loop that refreshes

    def watch(self, name: str, version: str) -> None:
        """Ask the registry for a version soon."""
        with self._guard:
            if (name, version) in self._known:
                return
            self._wanted.setdefault(name, set()).add(version)
        self.wake()

    def known(self, name: str, version: str) -> KnownModel | None:
        """A version; None where the registry was not asked yet."""
        found = self._known.get((name, version))
        if found is None:
            self.watch(name, version)
        return found

    def production(self, name: str) -> Production | None:
        """A name's production version."""
        return self._production.get(name)

    def refresh(self) -> None:
        """Look at the registry: production versions, and those that were asked for."""
        with self._guard:
            wanted = {name: set(versions) for name, versions in self._wanted.items()}
        for name in {key[0] for key in list(self._known)} | wanted.keys():
            self._follow(name)
        for name, versions in wanted.items():
            self._fetch(name, versions)

    def _follow(self, name: str) -> None:
        model = self._registry.tagged(name)
        if model is None:
            self._production.pop(name, None)
            return
        before = self._production.get(name)
        if before and (before.model.model_id, before.since) == (model.model_id, model.tagged_at):
            return
        newest = next(
            (one for one in self._registry.history(name) if one.to_tag == "production"), None
        )
        replaced = newest.replaced_model_id if newest and newest.kind == "promote" else None
        former = None if replaced is None else self._registry.get_model(replaced)
        self._production[name] = Production(model=model, since=model.tagged_at, former=former)

    def _fetch(self, name: str, versions: set[str]) -> None:
        found = {m.version: m for m in self._versions(name) if m.version in versions}
        for version in versions:
            model = found.get(version)
            reference = None if model is None else self._registry.reference_profile(model.model_id)
            with self._guard:
                self._known[name, version] = KnownModel(model=model, reference=reference)
                while len(self._known) > _MOST_VERSIONS:
                    self._known.pop(next(iter(self._known)))
                self._wanted[name].discard(version)
                if not self._wanted[name]:
                    del self._wanted[name]

    def _versions(self, name: str) -> Iterator[RegisteredModel]:
        cursor = None
        while True:
            page = self._registry.list_models(name=name, limit=MAX_PAGE, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
