"""Profiles of data sets and the drift between them.

A profile is made once of the training data and kept with the model; windows of current data are
compared with it::

    reference = profile_dataset(train_data, task_spec)
    current = profile_dataset(todays_data, task_spec, reference=reference)
    drift = compare_profiles(reference, current)
"""

from utils.training.drift_metrics.comparison import MIN_ROWS, DriftMetrics, compare_profiles
from utils.training.drift_metrics.profile import (
    DatasetProfiler,
    merge_profiles,
    profile_columns,
    profile_dataset,
)
from utils.training.drift_metrics.statistics import js_divergence

__all__ = [
    "MIN_ROWS",
    "DatasetProfiler",
    "DriftMetrics",
    "compare_profiles",
    "js_divergence",
    "merge_profiles",
    "profile_columns",
    "profile_dataset",
]
