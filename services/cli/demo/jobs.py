"""What is trained: the first job, the labelled scans of later, and the rule that uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.cli.demo.scanners import Digits, write_scans
from utils.service.contracts.jobs import DataSource, TrainingJob, TriggerRule
from utils.service.digits import Part

MODEL = "digits"

_LABELLED = "labelled"  # a folder of the trainers' data folder, where the labelling team writes
_JUDGING: tuple[Part, ...] = ("validation", "test")
_SETTINGS: dict[str, Any] = {
    "epochs": 20,
    "batch_size": 32,
    "learning_rate": 4e-3,
    "random_seed": 3,
    "deterministic": True,
    "export_formats": ["onnx"],
    "progress_bar": False,
}


def first_job() -> TrainingJob:
    """Train on the sample's digits, and be judged by those it holds out."""
    return _job(
        [_sample("train")],
        validation=_sample("validation"),
        held_out=_sample("test"),
    )


def retraining_rule() -> TriggerRule:
    """Train again when drift is critical in two of three windows, which is the default.

    On the sample's digits and those that the labelling team has written by then; judged by
    held-out digits of both scanners.
    """
    job = _job(
        [_sample("train"), _labelled("train")],
        validation=_labelled("validation"),
        held_out=_labelled("test"),
    )
    return TriggerRule(job=job)


def label_new_scans(data_folder: Path, old: Digits, new: Digits) -> None:
    """Do the labelling team's part: write the new scanner's digits with their labels.

    What is learnt from is of the new scanner only; what validates and judges is of both.
    """
    write_scans(data_folder / _location("train"), [new["train"]])
    for part in _JUDGING:
        write_scans(data_folder / _location(part), [old[part], new[part]])


def _job(data: list[DataSource], *, validation: DataSource, held_out: DataSource) -> TrainingJob:
    return TrainingJob.model_validate(
        {
            "model_name": MODEL,
            "model": {"entry_point": "services.trainer.samples.digits:build_model"},
            "data": data,
            "validation": validation,
            "held_out": held_out,
            "training_config": _SETTINGS,
        }
    )


def _sample(part: Part) -> DataSource:
    return DataSource(kind="sample", location="digits", part=part)


def _labelled(part: Part) -> DataSource:
    return DataSource(kind="jsonl", location=_location(part))


def _location(part: Part) -> str:
    return f"{_LABELLED}/{part}.jsonl"
