"""Reading data sets: batches of any common form become fields, one value a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.training.arguments import described, is_whole
from utils.training.errors import InvalidArgumentError

Fields = dict[str, Any]  # name -> values, the first dimension is rows

INPUT, LABEL = "input", "labels"  # the fields of samples without names
_SAMPLES_AT_ONCE = 1024
_VALUES_AT_ONCE = 1 << 22  # of a table: 32 MiB as doubles


def batches_of(dataset: Any, max_samples: int | None) -> Iterator[Any]:
    """Cut a data set into batches that :func:`fields_of` reads.

    Raises:
        ValueError: it is no array, table, sequence or iterable.
    """
    if max_samples is not None and not is_whole(max_samples, 1):
        raise ValueError(f"max_samples is {max_samples!r}, allowed is 1 or more, or None for all.")
    if isinstance(dataset, str | bytes):
        raise InvalidArgumentError(
            f"The data set is {described(dataset)}; load what it names first, and give that."
        )
    if hasattr(dataset, "with_format") and hasattr(dataset, "column_names"):
        dataset = dataset.with_format(_hugging_face_format(dataset))
        return _slices(dataset, len(dataset), len(dataset.column_names), max_samples)
    if isinstance(dataset, Mapping):
        columns = {str(name): regular_array(values) for name, values in dataset.items()}
        rows = min((len(values) for values in columns.values()), default=0)
        width = sum(
            values[0].size if rows and values.ndim > 1 else 1 for values in columns.values()
        )
        return _slices(_Columns(columns), rows, width, max_samples)
    if _is_frame(dataset):
        return _slices(dataset.iloc, len(dataset), len(dataset.columns), max_samples)
    if hasattr(dataset, "to_pandas") and hasattr(dataset, "column_names"):  # an Arrow table
        return batches_of(dataset.to_pandas(), max_samples)
    if _is_array(dataset):
        values = to_array(dataset)
        width = values[0].size if len(values) else 1
        return _slices(values, len(values), width, max_samples)
    return _sample_batches(dataset, max_samples)


def fields_of(batch: Any) -> tuple[int, Fields]:
    """The rows of a batch, and its fields.

    Args:
        batch: a list of samples, an array [rows, ...], a mapping of columns, or a data frame.

    Raises:
        ValueError: the columns have different lengths.
    """
    fields: Fields
    if _is_frame(batch):
        fields = {str(name): _series(batch[name]) for name in batch.columns}
    elif isinstance(batch, Mapping):
        fields = {str(name): regular_array(values) for name, values in batch.items()}
    elif _is_array(batch):
        fields = {INPUT: to_array(batch)}
    else:
        samples = [_named(sample) for sample in batch]
        names = dict.fromkeys(name for sample in samples for name in sample)
        fields = {name: [sample.get(name) for sample in samples] for name in names}
        return len(samples), fields
    lengths = {name: len(values) for name, values in fields.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The columns have different lengths: {lengths}; give one value a row.")
    return next(iter(lengths.values()), 0), fields


def to_array(values: Any) -> NDArray[Any]:
    """An array of what is an array, a tensor of any device, or a list."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
    return np.asarray(values)


def regular_array(values: Any) -> NDArray[Any]:
    """An array [rows, ...]; of objects [rows] where rows have different shapes or types."""
    if _is_array(values):
        return to_array(values)
    rows = [to_array(v) if hasattr(v, "__array__") or hasattr(v, "detach") else v for v in values]
    if rows and all(isinstance(row, np.ndarray) and row.shape == rows[0].shape for row in rows):
        return np.stack(rows)
    if any(isinstance(row, str | bytes | bool | np.ndarray | None) for row in rows):
        return _objects(rows)
    try:
        return np.asarray(rows)
    except ValueError:  # lists of different lengths
        return _objects(rows)


def is_nested(values: NDArray[Any]) -> bool:
    """True where a row holds several values."""
    return values.dtype == object and any(
        isinstance(row, list | tuple | dict) or getattr(row, "ndim", 0) for row in values
    )


class _Columns:
    """Columns that are cut by rows together."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self._columns = columns

    def __getitem__(self, rows: Any) -> dict[str, NDArray[Any]]:
        return {name: values[rows] for name, values in self._columns.items()}


def _slices(source: Any, rows: int, width: int, max_samples: int | None) -> Iterator[Any]:
    step = max(1, _VALUES_AT_ONCE // max(width, 1))
    if max_samples is not None and max_samples < rows:
        chosen = np.arange(max_samples) * rows // max_samples
        for start in range(0, max_samples, step):
            yield source[chosen[start : start + step]]
        return
    for start in range(0, rows, step):
        yield source[start : start + step]


def _hugging_face_format(dataset: Any) -> str:
    """Data frames keep doubles and times as they are; only arrays decode images."""
    is_decoded = any(hasattr(kind, "decode_example") for kind in dataset.features.values())
    return "numpy" if is_decoded else "pandas"


def _sample_batches(dataset: Any, max_samples: int | None) -> Iterator[list[Any]]:
    for batch in _batched(_samples(dataset, max_samples), _SAMPLES_AT_ONCE):
        yield list(batch)


def _samples(dataset: Any, max_samples: int | None) -> Iterable[Any]:
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        rows = len(dataset)
        count = rows if max_samples is None else min(rows, max_samples)
        return (dataset[number * rows // count] for number in range(count))
    if isinstance(dataset, Iterable):
        return islice(dataset, max_samples)
    raise ValueError(
        f"The data set is a {type(dataset).__name__}; give an array, a mapping of columns, a data "
        "frame, or a sequence or iterable of samples."
    )


def _batched(samples: Iterable[Any], size: int) -> Iterator[Sequence[Any]]:
    source = iter(samples)
    while batch := list(islice(source, size)):
        yield batch


def _named(sample: Any) -> Mapping[str, Any]:
    if isinstance(sample, Mapping):
        return sample
    if hasattr(sample, "_asdict"):
        fields: Mapping[str, Any] = sample._asdict()
        return fields
    if not isinstance(sample, tuple) or all(map(_is_number, sample)):
        return {INPUT: sample}
    if len(sample) > 2:  # noqa: PLR2004 - input, label
        raise ValueError(
            f"A sample is a tuple of {len(sample)} items; give (input, label) or a mapping."
        )
    return dict(zip((INPUT, LABEL), sample, strict=False))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _is_frame(values: Any) -> bool:
    return hasattr(values, "iloc") and hasattr(values, "columns")


def _is_array(values: Any) -> bool:
    return isinstance(values, np.ndarray) or hasattr(values, "detach")


def _series(series: Any) -> NDArray[Any]:
    """A data frame's column; its nullable numbers become doubles with NaN."""
    kind = getattr(series.dtype, "kind", "O")
    if kind == "M":
        return np.asarray(series.to_numpy(dtype="datetime64[us]"))
    if kind in "fiu":
        return np.asarray(series.to_numpy(dtype=float, na_value=np.nan))
    return regular_array(series.tolist() if kind == "O" else series.to_numpy())


def _objects(values: list[Any]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
