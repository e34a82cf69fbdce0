"""Profiles of data sets: built in one pass, merged exactly, bounded in size, plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utils.training.arguments import require_instance
from utils.training.drift_metrics.columns import columns_of
from utils.training.drift_metrics.features import KINDS, Feature
from utils.training.drift_metrics.samples import batches_of
from utils.training.task_spec import TaskSpec

FORMAT_VERSION = 1


@dataclass
class Profile:
    """A profile in memory: the counts of every feature."""

    modality: str
    rows: int = 0
    features: dict[str, Feature] = field(default_factory=dict)

    @staticmethod
    def is_optional(name: str) -> bool:
        """True for what is no input of the model: production data often have no labels."""
        return name in {"label", "embedding"} or name.startswith("prediction.")

    def check_comparable(self, other: Profile) -> None:
        """Refuse what can't be compared.

        Raises:
            ValueError: another modality, or no rows.
        """
        if self.modality != other.modality:
            raise ValueError(
                f"The profiles are of {self.modality} and {other.modality} data; "
                "compare profiles of one modality."
            )
        if not self.rows or not other.rows:
            raise ValueError(
                f"The profiles hold {self.rows} and {other.rows} rows; profile at least one row."
            )

    def merge(self, other: Profile) -> Profile:
        """Add the counts of another profile; a feature that one lacks is missing in its rows."""
        if self.modality != other.modality:
            raise ValueError(
                f"The profiles are of {self.modality} and {other.modality} data; "
                "merge profiles of one modality."
            )
        features = {
            name: _merge(name, self._feature(name, other), other._feature(name, self))
            for name in {**self.features, **other.features}
        }
        ordered = dict(sorted(features.items()))
        return Profile(self.modality, self.rows + other.rows, ordered)

    def _feature(self, name: str, other: Profile) -> Feature:
        if name in self.features:
            return self.features[name]
        return other.features[name].absent(0 if self.is_optional(name) else self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "version": FORMAT_VERSION,
            "modality": self.modality,
            "rows": self.rows,
            "features": {name: f.to_dict() for name, f in sorted(self.features.items())},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Profile:
        """Read a profile's JSON.

        Raises:
            ValueError: it is no profile, or one of another version.
        """
        version = values.get("version") if isinstance(values, dict) else None
        if version != FORMAT_VERSION or not isinstance(values.get("features"), dict):
            raise ValueError(
                f"The profile's version is {version}, this library reads {FORMAT_VERSION} with "
                "features; make the profile again with profile_dataset."
            )
        features = {
            name: KINDS[feature["kind"]].from_dict(feature)
            for name, feature in values["features"].items()
        }
        return cls(values["modality"], values["rows"], features)


class DatasetProfiler:
    """Counts a stream of samples into a profile, in memory that does not grow with the stream.

    Args:
        task_spec: the task, for its modality and the names and shapes of its inputs.
        reference: a profile whose bins and kinds of features are to be used. The result is a
            window to be compared with that reference, and merges with other such windows.
    """

    def __init__(self, task_spec: Any, reference: dict[str, Any] | None = None) -> None:
        require_instance("task_spec", task_spec, TaskSpec, "a TaskSpec")
        self._spec = task_spec
        self._profile = Profile(task_spec.modality)
        if reference is None:
            return
        origin = Profile.from_dict(reference)
        if origin.modality != task_spec.modality:
            raise ValueError(
                f"The reference is a profile of {origin.modality} data and the task is "
                f"{task_spec.modality}; give the reference of this task."
            )
        self._profile.features = {name: f.window() for name, f in origin.features.items()}

    def update(self, batch: Any) -> None:
        """Count more samples.

        Args:
            batch: a list of samples, an array [rows, features], a mapping of columns [rows] or a
                data frame.
        """
        rows, columns = columns_of(batch, self._spec, self._kinds())
        profile = self._profile
        for name, column in columns.items():
            known = profile.features.get(name)
            if known is None:
                missing = 0 if profile.is_optional(name) else profile.rows
                known = KINDS[column.kind].empty().absent(missing)
            profile.features[name] = known.add(column.values)
        for name in profile.features.keys() - columns.keys():
            if not profile.is_optional(name):
                feature = profile.features[name]
                profile.features[name] = _merge(name, feature, feature.absent(rows))
        profile.rows += rows

    def result(self) -> dict[str, Any]:
        """The profile of everything so far.

        Raises:
            ValueError: nothing was counted.
        """
        if not self._profile.rows:
            raise ValueError("The data set is empty; profile at least one row.")
        seen = {n: f for n, f in self._profile.features.items() if f.rows}
        return Profile(self._profile.modality, self._profile.rows, seen).to_dict()

    def _kinds(self) -> dict[str, str]:
        return {name: feature.kind for name, feature in self._profile.features.items()}


def profile_dataset(
    dataset: Any,
    task_spec: Any,
    max_samples: int | None = None,
    *,
    reference: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Profile a data set in one pass and constant memory.

    Args:
        dataset: an array [rows, features], a mapping of columns [rows], a data frame, a Hugging
            Face data set, or any sequence or iterable of samples (torch data sets too): mappings,
            (input, label) pairs, or inputs.
        task_spec: the task's modality, and the names and shapes of its inputs.
        max_samples: at most so many rows, spread evenly over a data set that has a length, the
            first ones of any other.
        reference: a profile whose bins are to be used for a window of current data.

    Returns:
        The profile as plain JSON, of a size that depends on the features and not on the rows.

    Raises:
        ValueError: the data set is empty or can't be read.
    """
    profiler = DatasetProfiler(task_spec, reference)
    for batch in batches_of(dataset, max_samples):
        profiler.update(batch)
    return profiler.result()


def profile_columns(
    columns: Mapping[str, Sequence[Any]], reference: dict[str, Any]
) -> dict[str, Any]:
    """Profile features that are computed already, as a window in the bins of a reference.

    Args:
        columns: the values [rows] of each feature, by its name in the reference; None is missing.
        reference: the profile whose bins and kinds are used.

    Raises:
        ValueError: there are no rows, the columns have different lengths, or one is not in the
            reference.
    """
    origin = Profile.from_dict(reference)
    unknown = sorted(columns.keys() - origin.features.keys())
    lengths = {len(values) for values in columns.values()}
    if unknown or len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"The columns have {sorted(lengths)} rows and {unknown} are not in the reference; give "
            "features of the reference, each with the same rows, and at least one row."
        )
    features = {name: _counted(origin.features[name].window(), v) for name, v in columns.items()}
    return Profile(origin.modality, lengths.pop(), features).to_dict()


def _counted(feature: Any, values: Sequence[Any]) -> Feature:
    given: Any = values
    if feature.kind == "numeric":
        given = np.array(values, dtype=np.float64)
    elif feature.kind == "tokens":
        given = [np.asarray([] if ids is None else ids, dtype=np.int64) for ids in values]
    elif feature.kind == "embedding":
        given = np.array([vector for vector in values if vector is not None], dtype=np.float64)
    counted: Feature = feature.add(given)
    return counted


def merge_profiles(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Add two profiles: exactly the profile of both data sets, in any order and grouping.

    Raises:
        ValueError: other modalities, kinds of features or references.
    """
    return Profile.from_dict(first).merge(Profile.from_dict(second)).to_dict()


def _merge(name: str, left: Any, right: Any) -> Feature:
    if left.kind != right.kind:
        raise ValueError(
            f"Feature '{name}' is {left.kind} in one profile and {right.kind} in the other; "
            "profile both with the same `reference`, or give the data one type."
        )
    merged: Feature = left.merge(right)
    return merged
