"""How full the disks are that a service writes to."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


class DiskCollector(Collector):
    """Free and total bytes of each folder's disk, read at the scrape.

    Args:
        folders: by what is kept there, such as ``logs``; a folder that can't be read is left out.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    def collect(self) -> Iterator[Metric]:
        """Ask the file system."""
        free = GaugeMetricFamily(
            "training_disk_free_bytes", "Bytes that can still be written.", labels=["volume"]
        )
        size = GaugeMetricFamily(
            "training_disk_size_bytes", "Bytes of the whole disk.", labels=["volume"]
        )
        for volume, folder in self._folders.items():
            try:
                usage = shutil.disk_usage(folder)
            except OSError as error:
                log.warning("The disk of the %s can't be measured: %s", volume, error)
                continue
            free.add_metric([volume], usage.free)
            size.add_metric([volume], usage.total)
        yield free
        yield size

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering asks no file system."""
        return iter(())
