"""A job as it was typed: a file, or a built-in sample with a few flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.cli.errors import UsageError
from utils.service.contracts.configs import checked_config
from utils.service.contracts.jobs import JobSubmission
from utils.training.errors import InvalidConfigError

SAMPLES: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 5, "batch_size": 32, "learning_rate": 4e-3, "export_formats": ["onnx"]},
    "cells": {"epochs": 20, "batch_size": 32, "learning_rate": 4e-3, "export_formats": ["onnx"]},
    "text": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "export_formats": ["onnx"]},
}


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
        raise UsageError("Give a file with a job, or --sample digits (or cells, or text).")
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
    try:
        submission = JobSubmission.model_validate(job)
    except ValidationError as error:
        raise InvalidConfigError(
            [f"{'.'.join(map(str, f['loc']))}: {f['msg']}." for f in error.errors()]
        ) from error
    checked_config(submission.job_type, submission.config)
    return submission


def read_mapping(file: Path) -> dict[str, Any]:
    """A YAML or JSON file whose content is a mapping.

    Raises:
        UsageError: a ValueError; it is neither, or has something else in it.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = str(error).splitlines()[-1].strip()
        raise UsageError(f"{file} is neither YAML nor JSON: {where}.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file} has no mapping of names to values in it.")
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
        "model": {"entry_point": f"services.trainer.samples.{sample}:build_model"},
        "data": [{"kind": "sample", "location": sample}],
        "training_config": {"progress_bar": False, **settings},
        **parts,
    }
