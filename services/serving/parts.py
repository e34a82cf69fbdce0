"""What serving is made of, put together once."""

from __future__ import annotations

from collections.abc import Callable

from services.serving.backends import create_backend
from services.serving.catalogue import Catalogue
from services.serving.gateway.answering import Answering
from services.serving.gateway.contract import Contracts
from services.serving.gateway.summaries import NoSummaries, RedisSummaries, Summaries
from services.serving.metrics import ServingMetrics
from services.serving.settings import ServingSettings
from services.serving.sync.bundles import Bundles
from services.serving.sync.follower import Follower
from services.serving.sync.nudges import Nudges
from services.serving.sync.refusals import Refusals
from utils.service.clients.registry import RegistryClient
from utils.service.http import ServiceClient
from utils.service.loops import Loop
from utils.training.errors import TrainingError

_REGISTRY_PATIENCE_SECONDS = 5.0
_STOP_SECONDS = 2.0  # for a pass under way: what it leaves half done, the next start finds


class StartingError(TrainingError, RuntimeError):
    """The first look at the registry is not over yet."""


class Parts:
    """The back end, the catalogue and the loops of one replica; nothing runs before start."""

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self.metrics = ServingMetrics()
        self.catalogue = Catalogue()
        self.backend = create_backend(settings)
        self._service = ServiceClient(
            settings.registry_url,
            settings.token_file,
            patience_seconds=_REGISTRY_PATIENCE_SECONDS,
        )
        registry = RegistryClient(self._service)
        self._follower = Follower(
            registry,
            Bundles(settings.work_folder, registry, settings.max_bundle_bytes),
            self.backend,
            self.catalogue,
            self.metrics,
            model_names=settings.model_names,
            refusals=Refusals(settings.retry_seconds),
            drain_seconds=settings.drain_seconds,
        )
        sync = Loop("sync", self._follower.step, settings.poll_seconds)
        self._loops = [sync]
        self._nudges = None
        self._summaries: Summaries = NoSummaries()
        if settings.redis_url is not None:
            self._nudges = Nudges(settings.redis_url, sync.wake)
            self._loops.append(Loop("nudges", self._nudges.step, 0))
            self._summaries = RedisSummaries(
                settings.redis_url, self.metrics.summaries, settings.summary_queue
            )
        self.answering = Answering(
            self.catalogue,
            Contracts(self.catalogue),
            self.backend,
            self.metrics,
            self._summaries,
            is_expected=self._is_expected,
            sample_rate=settings.sample_rate,
        )

    def start(self) -> None:
        """Start the loops."""
        self._summaries.start()
        for loop in self._loops:
            loop.start()

    def begin_stop(self) -> None:
        """Let no wait last longer; called in a signal handler."""
        if self._nudges is not None:
            self._nudges.stop()

    def close(self) -> None:
        """Stop the loops, then let go of models and connections."""
        self.begin_stop()
        for loop in self._loops:
            loop.stop(_STOP_SECONDS)
        self._summaries.close()
        self.backend.close()
        self._service.close()
        if self._nudges is not None:
            self._nudges.close()

    @property
    def optional_checks(self) -> dict[str, Callable[[], None]]:
        """What answers can be given without, by name; each tells what the loops saw last."""
        checks = {"registry": self._follower.check_registry}
        if self._nudges is not None:
            checks["redis"] = self._nudges.check
        return checks

    def check_sync(self) -> None:
        """Raise until the first look at the registry is over, whatever came of it."""
        if not self._follower.settled.is_set():
            raise StartingError("The models are being loaded.")

    def _is_expected(self, name: str) -> bool:
        """True for a name that is to be served here, or may be."""
        return name in self.settings.model_names or not self._follower.settled.is_set()
