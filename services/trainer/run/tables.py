"""Rows of a file (JSON Lines, Parquet, CSV, a Hugging Face dataset) as samples of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from services.trainer.run.errors import DataError
from utils.service.contracts.jobs import DataSource
from utils.training.task_spec import TaskSpec

_SUFFIXES = {"jsonl": ".jsonl", "parquet": ".parquet", "csv": ".csv"}
_LM_TASKS = ("language_modeling", "causal_lm")
_BYTE = 255.0


@dataclass(frozen=True)
class Table:
    """Columns of equal length, by name."""

    columns: Mapping[str, list[Any]]
    origin: str

    def column(self, name: str) -> list[Any]:
        """A column.

        Raises:
            DataError: a ValueError; there is none of this name, or a value is missing in it.
        """
        if name not in self.columns:
            raise DataError(
                f"{self.origin} has no column '{name}'; its columns are {', '.join(self.columns)}."
            )
        values = self.columns[name]
        missing = next((row for row, value in enumerate(values) if value is None), None)
        if missing is not None:
            raise DataError(f"{self.origin} has no value of '{name}' in row {missing}.")
        return values


class Rows(Dataset[dict[str, Any]]):
    """Samples that lie in memory, as fields of equal length."""

    def __init__(self, fields: Mapping[str, Sequence[Any] | Tensor]) -> None:
        self.fields = fields

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self.fields.items()}


def read_table(path: Path, kind: str, part: str) -> Table:
    """Read a file, or the file of a part (``train.csv``) in a folder.

    Raises:
        DataError: a ValueError; it can't be read as what it is said to be, or is empty.
    """
    path = _file_of(path, kind, part)
    origin = _origin(path, kind)
    with _told_of(origin):
        columns = _read(path, kind, part)
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{origin} holds no rows; give at least one.")
    return Table(columns, origin)


def column_names(path: Path, kind: str, part: str) -> list[str]:
    """The columns of what :func:`read_table` reads, without its rows.

    Raises:
        DataError: a ValueError; it can't be read as what it is said to be.
    """
    path = _file_of(path, kind, part)
    with _told_of(_origin(path, kind)):
        if kind == "huggingface":
            return list(_open_hugging_face(path, part).column_names)
        from pyarrow.dataset import dataset

        return list(dataset(path, format="json" if kind == "jsonl" else kind).schema.names)


def _file_of(path: Path, kind: str, part: str) -> Path:
    is_folder = kind != "huggingface" and path.is_dir()
    return path / f"{part}{_SUFFIXES[kind]}" if is_folder else path


def _origin(path: Path, kind: str) -> str:
    return f"The {kind} data '{path.name}'"


@contextmanager
def _told_of(origin: str) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (OSError, ValueError, KeyError, ArrowException) as error:
        raise DataError(f"{origin} can't be read: {error}.") from error


def _read(path: Path, kind: str, part: str) -> dict[str, list[Any]]:
    if kind == "huggingface":
        return _read_hugging_face(path, part)
    if kind == "jsonl":
        from pyarrow import json as reader

        return _columns(reader.read_json(path))
    if kind == "parquet":
        from pyarrow import parquet

        return _columns(parquet.read_table(path))
    from pyarrow import csv

    return _columns(csv.read_csv(path))


def _columns(table: Any) -> dict[str, list[Any]]:
    return {name: table[name].to_pylist() for name in table.column_names}


def _read_hugging_face(path: Path, part: str) -> dict[str, list[Any]]:
    dataset = _open_hugging_face(path, part)
    return {name: list(dataset[name]) for name in dataset.column_names}


def _open_hugging_face(path: Path, part: str) -> Any:
    from datasets import DatasetDict, load_from_disk

    loaded = load_from_disk(str(path))
    return loaded[part] if isinstance(loaded, DatasetDict) else loaded


def samples_of(table: Table, source: DataSource, task_spec: TaskSpec, tokenizer: Any) -> Rows:
    """The rows as samples of the task's modality.

    Raises:
        DataError: a ValueError; a column is missing, or a value does not fit the task.
    """
    labels = {}
    if task_spec.task_type not in _LM_TASKS:
        labels["labels"] = labels_of(table.column(source.label), task_spec, table.origin)
    read = {"text": _text, "vision": _images, "tabular": _features}[task_spec.modality]
    return Rows(read(table, source, task_spec, tokenizer) | labels)


def labels_of(values: Sequence[Any], task_spec: TaskSpec, origin: str) -> Tensor:
    """Labels as class numbers; names are looked up in the task's.

    Raises:
        DataError: a ValueError; a label is no class of the task.
    """
    numbers = {name: number for number, name in enumerate(task_spec.class_names)}
    limit = task_spec.num_classes or len(numbers) or None
    labels = [numbers.get(value, value) if isinstance(value, str) else value for value in values]
    for row, label in enumerate(labels):
        is_class = isinstance(label, int) and label >= 0 and (limit is None or label < limit)
        if not is_class and not isinstance(label, list):
            allowed = ", ".join(numbers) or f"0 to {(limit or 0) - 1}"
            raise DataError(
                f"{origin} has the label {label!r} in row {row}; allowed are {allowed}."
            )
    return torch.tensor(labels, dtype=torch.int64)


def _features(table: Table, source: DataSource, task_spec: TaskSpec, _: Any) -> dict[str, Any]:
    names = task_spec.feature_names or [n for n in table.columns if n != source.label]
    try:
        rows = np.array([table.column(name) for name in names], dtype=np.float32).T
    except (TypeError, ValueError) as error:
        raise DataError(f"{table.origin} has a feature that is no number: {error}.") from error
    return {"features": torch.from_numpy(np.ascontiguousarray(rows))}


def _images(table: Table, _: DataSource, task_spec: TaskSpec, __: Any) -> dict[str, Any]:
    name = "pixel_values" if "pixel_values" in table.columns else "image"
    try:
        pixels = np.array(table.column(name), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{table.origin} has an image of another shape: {error}.") from error
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels  # noqa: PLR2004 - grey [rows, h, w]
    wanted = (task_spec.image_channels, *task_spec.image_size)
    if pixels.shape[1:] != wanted:
        raise DataError(
            f"{table.origin} has images of the shape {list(pixels.shape[1:])}, the task's is "
            f"{list(wanted)} (channels, height, width)."
        )
    if pixels.max() > 1:
        pixels = pixels / _BYTE
    return {"pixel_values": torch.from_numpy(pixels)}


def _text(table: Table, source: DataSource, task_spec: TaskSpec, tokenizer: Any) -> dict[str, Any]:
    if "input_ids" in table.columns:
        rows = table.column("input_ids")
    elif tokenizer is None:
        raise DataError(f"{table.origin} has no 'input_ids', and there is no tokenizer for texts.")
    else:
        rows = [tokenizer.encode(str(text)) for text in table.column(source.text)]
    empty = next((number for number, row in enumerate(rows) if not row), None)
    if empty is not None:
        raise DataError(f"{table.origin} has no token in row {empty}; leave it out.")
    return {"input_ids": [torch.tensor(row[: task_spec.max_seq_len]) for row in rows]}
