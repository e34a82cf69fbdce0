"""A job as it was typed: a file, or a built-in sample with a few flags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from services.cli.errors import UsageError
from services.cli.requests import request_of
from utils.service.contracts.configs import checked_config
from utils.service.contracts.jobs import JobSubmission

SAMPLES: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 5, "batch_size": 32, "learning_rate": 4e-3, "export_formats": ["onnx"]},
    "cells": {"epochs": 20, "batch_size": 32, "learning_rate": 4e-3, "export_formats": ["onnx"]},
    "text": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "export_formats": ["onnx"]},
}
_ONCE = ("after", "run_after", "reason")
ONE_OF_SAMPLES = " or ".join(SAMPLES)


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as in version 1.2; PyYAML knows 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_submission(
    file: Path | None,
    sample: str | None,
    model_name: str | None,
    epochs: int | None,
    changes: dict[str, Any],
) -> JobSubmission:
    """The job that is meant.

    Args:
        file: a job, or the config of a training.
        sample: the built-in data to train on instead.
        model_name: of the sample's model; None takes the sample's name.
        epochs: of the sample's training.
        changes: fields of the job that were given as flags; None leaves the file's.

    Raises:
        UsageError: a ValueError; neither or both were given, or the file is no mapping.
        InvalidConfigError: a ValueError; lists every fault of the job.
    """
    if (file is None) == (sample is None):
        raise UsageError(f"Give either a file with a job, or --sample {ONE_OF_SAMPLES}.")
    if file is None:
        assert sample is not None
        job = _of_sample(sample, model_name, epochs)
    elif model_name is not None or epochs is not None:
        raise UsageError("--model-name and --epochs are for --sample; a file says both itself.")
    else:
        job = read_mapping(file)
    if "config" not in job:
        job = {"job_type": "training", "config": job}
    job |= {name: value for name, value in changes.items() if value is not None}
    submission = request_of(JobSubmission, job)
    checked_config(submission.job_type, submission.config)
    return submission


def read_recurring(
    file: Path | None, sample: str | None, model_name: str | None, epochs: int | None
) -> JobSubmission:
    """The job that is meant to run again and again.

    Raises:
        UsageError: a ValueError; as of :func:`read_submission`, or the file says what only a job
            that runs once can have.
        InvalidConfigError: a ValueError; lists every fault of the job.
    """
    job = read_submission(file, sample, model_name, epochs, {})
    once = [name for name in _ONCE if name in job.model_fields_set]
    if once:
        raise UsageError(f"{file} has {', '.join(once)}, for a job that runs once; leave it out.")
    return job


def entry_point_of(sample: str) -> str:
    """What builds the model of a built-in sample."""
    return f"services.trainer.samples.{sample}:build_model"


def read_mapping(file: Path) -> dict[str, Any]:
    """A YAML or JSON file whose content is a mapping.

    Raises:
        UsageError: a ValueError; it is neither, or has something else in it.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(f"{file} is neither YAML nor JSON; {where}{error.problem}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is neither YAML nor JSON: it is no text in UTF-8.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file} holds no names with values, such as `model_name: shoes`.")
    return content


def _of_sample(sample: str, model_name: str | None, epochs: int | None) -> dict[str, Any]:
    if sample not in SAMPLES:
        raise UsageError(f"The sample is {sample!r}, allowed are {', '.join(SAMPLES)}.")
    settings = SAMPLES[sample] | ({} if epochs is None else {"epochs": epochs})
    parts = {
        name: {"kind": "sample", "location": sample, "part": part}
        for name, part in (("validation", "validation"), ("held_out", "test"))
    }
    return {
        "model_name": model_name or sample,
        "model": {"entry_point": entry_point_of(sample)},
        "data": [{"kind": "sample", "location": sample}],
        "training_config": {"progress_bar": False, **settings},
        **parts,
    }
