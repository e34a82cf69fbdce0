"""MLflow, local or on a server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from utils.training.engine.trackers.background import BackgroundTracker
from utils.training.engine.trackers.protocol import Values, by_epoch
from utils.training.errors import MissingDependencyError

_FORBIDDEN_IN_NAMES = re.compile(r"[^\w\-. /]")
_LONGEST_PARAMETER = 6000
_PARAMETERS_A_CALL = 100


class MlflowTracker(BackgroundTracker):
    """Sends values to an MLflow run from a thread of its own; epochs' are named ``epoch/...``.

    The run is opened with the first value. MLflow's own usage reports are switched off unless
    ``MLFLOW_DISABLE_TELEMETRY`` says otherwise.

    Args:
        tracking_uri: ``sqlite:///mlflow.db``, ``https://...``; None takes MLflow's own default.
        experiment: made where there is none of that name.
        run_name: None lets MLflow choose.
        params: the settings to record with the run.
        close_timeout_seconds: how long :meth:`close` waits for values that are not yet sent.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str = "training-engine",
        run_name: str | None = None,
        params: Mapping[str, Any] | None = None,
        close_timeout_seconds: float = 30.0,
    ) -> None:
        open_run = partial(_Run, tracking_uri, experiment, run_name, dict(params or {}))
        super().__init__("MLflow", open_run, close_timeout_seconds)


class _Run:
    """A run that is open; every call may block or raise."""

    def __init__(
        self,
        tracking_uri: str | None,
        experiment: str,
        run_name: str | None,
        params: dict[str, Any],
    ) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingDependencyError("mlflow", "Logging to MLflow", "mlflow") from error
        # A client and a run id, not MLflow's "active run", which belongs to the user's thread.
        self._client = MlflowClient(tracking_uri=tracking_uri)
        self._run_id = self._create_run(experiment, run_name)
        self._log_params(params)

    def _create_run(self, experiment: str, run_name: str | None) -> str:
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        return str(self._client.create_run(experiment_id, run_name=run_name).info.run_id)

    def _log_params(self, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        entries = [Param(key, str(value)[:_LONGEST_PARAMETER]) for key, value in params.items()]
        for start in range(0, len(entries), _PARAMETERS_A_CALL):
            self._client.log_batch(self._run_id, params=entries[start : start + _PARAMETERS_A_CALL])

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        from mlflow.entities import Metric

        now_milliseconds = time.time_ns() // 1_000_000
        named = metrics if epoch is None else by_epoch(metrics)
        place = (step if epoch is None else epoch) or 0
        points = [
            Metric(_FORBIDDEN_IN_NAMES.sub("_", name), value, now_milliseconds, place)
            for name, value in named.items()
        ]
        self._client.log_batch(self._run_id, metrics=points)

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        """Do nothing: MLflow's metrics are numbers."""

    def close(self) -> None:
        self._client.set_terminated(self._run_id)
