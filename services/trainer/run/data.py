"""From a job's data sources to datasets of samples."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset

from services.trainer.run.artifacts import ArtifactCache
from services.trainer.run.errors import DataError
from services.trainer.run.images import ImageFolder
from services.trainer.run.tables import Table, column_names, read_table, samples_of
from services.trainer.run.texts import train_tokenizer
from services.trainer.samples import load_sample
from services.trainer.samples.sample import Sample
from utils.service.contracts.jobs import DataSource, TrainingJob
from utils.training.errors import InvalidConfigError
from utils.training.task_spec import TaskSpec

ARTIFACT = "artifact:"
_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class JobData:
    """What a training job learns from and is judged by."""

    task_spec: TaskSpec
    train: Dataset[Any]
    validation: Dataset[Any]
    tokenizer: Any = None


class DataReader:
    """Opens data sources under one folder and in the artifact store.

    Args:
        folder: what paths are relative to; nothing outside it is read.
        artifacts: where ``artifact:`` locations come from.
    """

    def __init__(self, folder: Path, artifacts: ArtifactCache) -> None:
        self._folder = folder.resolve()
        self._artifacts = artifacts

    def load(self, job: TrainingJob) -> JobData:
        """Read all of a training job's data.

        Raises:
            DataError: a ValueError; a source is missing, unreadable or does not fit the task.
        """
        task_spec = self._with_feature_names(task_spec_of(job.task_spec, job.data), job.data)
        tokenizer = self.tokenizer(job.data, task_spec)
        parts = [self.dataset(source, task_spec, tokenizer) for source in job.data]
        train = parts[0] if len(parts) == 1 else ConcatDataset(parts)
        if job.validation is not None:
            validation = self.dataset(job.validation, task_spec, tokenizer)
            return JobData(task_spec, train, as_served(validation), tokenizer)
        kept, aside = _split(train)
        return JobData(task_spec, kept, as_served(aside), tokenizer)

    def _with_feature_names(self, task_spec: TaskSpec, sources: Sequence[DataSource]) -> TaskSpec:
        """A tabular task that names no features takes the columns of the first table.

        So every other table is read in their order, and the served model knows their names.
        """
        if task_spec.modality != "tabular" or task_spec.feature_names:
            return task_spec
        for source in sources:
            if source.kind != "sample":
                columns = column_names(self._path(source), source.kind, source.part)
                names = tuple(name for name in columns if name != source.label)
                return replace(task_spec, feature_names=names)
        return task_spec

    def dataset(
        self, source: DataSource, task_spec: TaskSpec, tokenizer: Any = None
    ) -> Dataset[Any]:
        """Open one source as samples of the task."""
        if source.kind == "sample":
            return _part_of_sample(load_sample(source.location), source)
        path = self._path(source)
        if source.kind == "images":
            return ImageFolder(_part_folder(path, source.part), task_spec, source.label)
        return samples_of(self._table(path, source), source, task_spec, tokenizer)

    def tokenizer(self, sources: Sequence[DataSource], task_spec: TaskSpec) -> Any:
        """A text task's tokenizer: of the sample, else trained on the texts themselves."""
        if task_spec.modality != "text":
            return None
        for source in sources:
            if source.kind == "sample":
                return load_sample(source.location).tokenizer
        tables = [(self._table(self._path(source), source), source) for source in sources]
        texts = [
            text
            for table, source in tables
            if source.text in table.columns
            for text in table.columns[source.text]
        ]
        return train_tokenizer(texts, task_spec) if texts else None

    def digest(self, source: DataSource) -> str:
        """The SHA-256 of a source's content, and of how it is read."""
        content = hashlib.sha256(source.model_dump_json(exclude={"location"}).encode())
        if source.kind == "sample":
            _add_samples(content, _part_of_sample(load_sample(source.location), source))
        elif source.location.startswith(ARTIFACT):
            content.update(source.location.encode())
        else:
            _add_files(content, self._path(source))
        return content.hexdigest()

    def _table(self, path: Path, source: DataSource) -> Table:
        return read_table(path, source.kind, source.part)

    def _path(self, source: DataSource) -> Path:
        if source.location.startswith(ARTIFACT):
            return self._artifact(source)
        path = (self._folder / source.location).resolve()
        if not path.is_relative_to(self._folder):
            raise DataError(
                f"The location '{source.location}' leads out of the data folder; give a path "
                "within it, or artifact:<sha256>."
            )
        if not path.exists():
            raise DataError(
                f"There is no '{source.location}' in this trainer's data folder; put it there, or "
                "upload it and give artifact:<sha256>."
            )
        if path.suffix == ".tar" and source.kind in ("images", "huggingface"):
            return self._artifacts.unpacked_file(path)
        return path

    def _artifact(self, source: DataSource) -> Path:
        digest = source.location.removeprefix(ARTIFACT)
        if source.kind in ("images", "huggingface"):
            return self._artifacts.unpacked(digest)
        return self._artifacts.file(digest)


def task_spec_of(given: dict[str, Any] | None, sources: Sequence[DataSource]) -> TaskSpec:
    """The task that a job names, else its sample's own.

    Raises:
        InvalidConfigError: a ValueError; there is neither, or the one given has faults.
    """
    if given is not None:
        return TaskSpec.from_dict(given)
    for source in sources:
        if source.kind == "sample":
            return load_sample(source.location).task_spec
    raise InvalidConfigError(["task_spec is missing; only built-in samples bring their own."])


def as_served(dataset: Dataset[Any]) -> Dataset[Any]:
    """The same samples as they come in production: without what training adds to them.

    A dataset that varies its samples says so by an attribute ``augment``.
    """
    if isinstance(dataset, Subset):
        return Subset(as_served(dataset.dataset), dataset.indices)
    if isinstance(dataset, ConcatDataset):
        return ConcatDataset([as_served(part) for part in dataset.datasets])
    if not getattr(dataset, "augment", False):
        return dataset
    plain: Any = copy.copy(dataset)
    plain.augment = False
    return plain


def _part_of_sample(sample: Sample, source: DataSource) -> Dataset[Any]:
    parts: dict[str, Callable[[], Dataset[Any]]] = {
        "train": lambda: sample.train,
        "validation": lambda: sample.validation,
        "test": lambda: sample.test,
    }
    return parts[source.part]()


def _add_samples(content: Any, dataset: Dataset[Any]) -> None:
    for index in range(len(dataset)):  # type: ignore[arg-type]
        for name, value in dataset[index].items():
            content.update(name.encode())
            content.update(np.ascontiguousarray(value).tobytes())


def _add_files(content: Any, path: Path) -> None:
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    for file in files:
        content.update(str(file.relative_to(path.parent)).encode())
        with file.open("rb") as opened:
            content.update(hashlib.file_digest(opened, "sha256").digest())


def _part_folder(path: Path, part: str) -> Path:
    return path / part if (path / part).is_dir() else path


def _split(dataset: Dataset[Any]) -> tuple[Dataset[Any], Dataset[Any]]:
    """Set a fixed tenth aside: the same one for the same data, whoever asks."""
    count = len(dataset)  # type: ignore[arg-type]
    aside = max(1, round(count * _VALIDATION_SHARE))
    if count <= aside:
        raise DataError(f"The data has {count} samples; give at least 2, or a validation source.")
    order = np.random.default_rng(0).permutation(count).tolist()
    return Subset(dataset, sorted(order[aside:])), Subset(dataset, sorted(order[:aside]))
