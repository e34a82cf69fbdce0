"""Where a piece of work left its trace id in the services' logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def services_that_said(log_files: Mapping[str, Path], trace_id: str) -> list[str]:
    """The names of the services whose logs hold a trace id."""
    wanted = trace_id.encode()
    return [
        name for name, path in log_files.items() if path.exists() and wanted in path.read_bytes()
    ]
