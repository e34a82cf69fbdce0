"""TensorBoard event files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from utils.training.engine.trackers.protocol import Values, by_epoch
from utils.training.errors import MissingDependencyError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardTracker:
    """Writes event files to ``log_dir/run_name``; epochs' values are named ``epoch/...``.

    Args:
        log_dir: the folder that ``tensorboard --logdir`` is given.
        run_name: the folder in it; by default the time of the first value (UTC).
    """

    def __init__(self, log_dir: str | Path = "./runs", run_name: str | None = None) -> None:
        self._log_dir = Path(log_dir)
        self._run_name = run_name
        self._open_writer: SummaryWriter | None = None

    @property
    def _writer(self) -> SummaryWriter:
        if self._open_writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingDependencyError(
                    "tensorboard", "Logging to TensorBoard", "tracking"
                ) from error
            run_name = self._run_name or f"{datetime.now(UTC):%Y%m%d_%H%M%S}"
            self._open_writer = SummaryWriter(str(self._log_dir / run_name))
        return self._open_writer

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        """Write all values as one event: a fraction of the cost of one event for each."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        named = metrics if epoch is None else by_epoch(metrics)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in named.items()]
        writer = self._writer._get_file_writer()  # noqa: SLF001 - add_scalar takes one value only
        writer.add_summary(Summary(value=values), step if epoch is None else epoch)

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        """Write the distribution in TensorBoard's own bins."""
        self._writer.add_histogram(name, values, step)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._open_writer is not None:
            self._open_writer.close()
