"""What the registry shows to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class RegistryMetrics:
    """Counters of what was registered, judged and promoted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registered = self._counter(
            "model_registrations_total", "Models registered.", ["model_name"]
        )
        self.verdicts = self._counter(
            "model_verdicts_total", "Verdicts of the gate.", ["model_name", "passed"]
        )
        self.promotions = self._counter(
            "model_promotions_total", "Changes of a tag.", ["model_name", "tag", "kind"]
        )
        self.artifact_bytes = self._counter(
            "model_artifact_bytes_total", "Bytes of artifacts moved.", ["direction"]
        )
        self.removed_bytes = self._counter(
            "model_checkpoint_removed_bytes_total", "Bytes of checkpoints removed.", []
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)
