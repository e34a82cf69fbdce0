"""One pass over the registry: every name answers with its production version."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus

import httpx

from services.serving.backends.protocol import Backend, UnavailableError, Version
from services.serving.catalogue import Catalogue
from services.serving.metrics import ServingMetrics
from services.serving.sync.bundles import Bundles
from services.serving.sync.refusals import Refusals
from utils.service.clients.registry import RegistryClient
from utils.service.contracts.document import MAX_PAGE
from utils.service.http import RemoteError, UnreachableError
from utils.service.logs import trace_id_of, traceparent, tracing
from utils.training.model_registry.records import RegisteredModel

log = logging.getLogger(__name__)


class Follower:
    """Loads what became production, switches to it, and lets the version before go.

    A version takes requests only after its bundle was verified and gave its expected output; until
    then, and where that fails, the one before goes on.

    Args:
        registry: read, never written.
        bundles: where versions lie on disk.
        backend: what runs them.
        catalogue: what the gateway asks for a version.
        metrics: of the service.
        model_names: the names to serve; none means all that have a production version.
        refusals: versions that failed, and when each is tried again.
        drain_seconds: for the last requests of a version that goes.
    """

    def __init__(
        self,
        registry: RegistryClient,
        bundles: Bundles,
        backend: Backend,
        catalogue: Catalogue,
        metrics: ServingMetrics,
        *,
        model_names: Iterable[str],
        refusals: Refusals,
        drain_seconds: float,
    ) -> None:
        self._registry = registry
        self._bundles = bundles
        self._backend = backend
        self._catalogue = catalogue
        self._metrics = metrics
        self._model_names = tuple(model_names)
        self._refusals = refusals
        self._drain_seconds = drain_seconds
        self._registry_is_away = False
        self._is_restored = False
        self.settled = threading.Event()  # the first pass has ended, whatever came of it

    def step(self) -> None:
        """Make one pass."""
        try:
            if not self._is_restored:
                self._restore()
                self._is_restored = True
            self._follow_all()
        finally:
            self.settled.set()

    def check_registry(self) -> None:
        """Raise where the registry could not be read the last time."""
        if self._registry_is_away:
            raise UnreachableError("The registry can't be read; the loaded versions go on.")

    def _restore(self) -> None:
        """Serve what was served last; the registry may be away."""
        for version in self._bundles.last_served():
            if self._model_names and version.name not in self._model_names:
                continue
            try:
                self._backend.load(version)
            except UnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - one version must not keep the others away
                log.warning("%s was served last and can't be any more: %s", version, error)
            else:
                self._take_over(version)

    def _follow_all(self) -> None:
        wanted = self._production()
        if wanted is None:
            return
        results = []
        for model in wanted:
            with tracing(_trace_of(model)):
                results.append(self._follow(model))
        for name in set(self._catalogue.names()) - {model.name for model in wanted}:
            version = self._catalogue.current(name)
            if version is not None:
                log.info("%s has no production version any more.", name)
                self._let_go(version)
        if all(results):
            self._bundles.keep_only(self._serving())
        self._metrics.sync_last_success.set_to_current_time()

    def _production(self) -> list[RegisteredModel] | None:
        """The production versions to serve; None where the registry does not say."""
        try:
            found = list(self._read_production())
        except (UnreachableError, RemoteError) as error:
            if not self._registry_is_away:
                log.warning("The registry can't be read, the loaded versions go on: %s", error)
            self._registry_is_away = True
            return None
        if self._registry_is_away:
            log.info("The registry can be read again.")
        self._registry_is_away = False
        return found

    def _read_production(self) -> Iterator[RegisteredModel]:
        if self._model_names:
            tagged = (self._registry.tagged(name) for name in self._model_names)
            yield from (model for model in tagged if model is not None)
            return
        cursor = None
        while True:
            page = self._registry.list_models(tag="production", limit=MAX_PAGE, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _follow(self, model: RegisteredModel) -> bool:
        """Bring a name to its production version; True where it is there."""
        current = self._catalogue.current(model.name)
        if current and (current.model_id, current.digest) == (
            model.model_id,
            model.artifact_digest,
        ):
            self._refusals.forget(model.name)
            return True
        if self._refusals.hold(model):
            return False
        started = time.perf_counter()
        try:
            version = self._bring_up(model)
        except Exception as error:  # noqa: BLE001 - one broken bundle must not hold up the others
            self._metrics.sync_failures.labels(model.name).inc()
            self._refusals.add(model, error, is_passing=_is_passing(error))
            return False
        self._refusals.forget(model.name)
        self._take_over(version)
        self._metrics.switches.labels(model.name).inc()
        self._metrics.switch_seconds.labels(model.name).observe(time.perf_counter() - started)
        return True

    def _bring_up(self, model: RegisteredModel) -> Version:
        version = self._bundles.fetch(model)
        try:
            self._backend.load(version)
        except UnavailableError:
            raise
        except Exception:
            self._bundles.remove(version)
            raise
        return version

    def _take_over(self, version: Version) -> None:
        before = self._catalogue.switch(version)
        self._metrics.loaded.labels(version.name, version.version).set(1)
        self._bundles.remember(self._serving())
        log.info("%s answers now, before it: %s.", version, before or "nothing")
        if before is not None:
            self._let_go(before)

    def _let_go(self, version: Version) -> None:
        if not self._catalogue.retire(version, self._drain_seconds):
            log.warning(
                "%s still has requests after %g s; it goes all the same.",
                version,
                self._drain_seconds,
            )
        self._backend.unload(version)
        if version.version not in {one.version for one in self._catalogue.versions(version.name)}:
            self._metrics.loaded.remove(version.name, version.version)
        self._bundles.remember(self._serving())
        self._bundles.remove(version)

    def _serving(self) -> list[Version]:
        current = (self._catalogue.current(name) for name in self._catalogue.names())
        return [version for version in current if version is not None]


def _is_passing(error: Exception) -> bool:
    """True where the bundle is not at fault: the network, the registry or the back end was away."""
    if isinstance(error, RemoteError):
        return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, UnreachableError | httpx.TransportError | UnavailableError)


def _trace_of(model: RegisteredModel) -> str | None:
    """The trace of the job that made a model; None where it says none that could be one."""
    return trace_id_of(traceparent(str(model.metadata.get("trace_id"))))
