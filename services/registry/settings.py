"""What the registry is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from utils.service.settings import WebSettings

PREFIX = "TRAINING_REGISTRY"


class RegistrySettings(WebSettings):
    """Where models, runs and artifacts are kept."""

    database_url: str = Field(repr=False)
    redis_url: str | None = Field(None, repr=False)  # where promotions are told; None: nowhere
    store_url: str  # a folder, or any fsspec URL
    staging_folder: Path  # uploads under way
    max_artifact_bytes: int = Field(8 * 1024**3, ge=1024)
    keep_checkpoints: int = Field(2, ge=0)  # the newest of each job; 0: all
    keep_checkpoints_days: float = Field(7, ge=0)  # after a job's end; 0: as long as the job

    @property
    def folders(self) -> dict[str, Path]:
        """What is written to local disks, and where."""
        folders = {"staging": self.staging_folder}
        if "://" not in self.store_url:
            folders["artifacts"] = Path(self.store_url)
        return folders
