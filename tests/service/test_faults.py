"""Faults of a document say where, what was given and what is allowed, in words of people."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from utils.service.contracts.configs import check_training
from utils.service.contracts.faults import faults_of
from utils.service.contracts.jobs import DataSource, JobSubmission, ScheduleRequest, TrainingJob
from utils.training.errors import InvalidConfigError


def faults(kind, values, place=""):
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    return faults_of(caught.value, place)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "a b"}, "name is 'a b': allowed is a letter or digit, then up to 99"),
        ({"priority": 12}, "priority is 12: Input should be less than or equal to 9."),
        ({"config": 3}, "config is 3: Input should be a valid dictionary."),
        ({"colour": "red"}, "colour is no field that is known here; leave it out."),
        ({"schedule_expr": "x" * 300}, "schedule_expr: String should have at most 200"),
    ],
)
def test_a_fault_names_its_place_and_what_was_given(changes, sentence):
    values = {"name": "n", "job_type": "export", "config": {}, "schedule_expr": "0 3 * * *"}
    (found,) = faults(ScheduleRequest, values | changes)
    assert found.startswith(sentence)


def test_all_faults_are_told_with_the_part_of_the_document_that_they_are_in():
    found = faults(JobSubmission, {"priority": -1}, "job")
    assert found[:2] == ["job.job_type is missing.", "job.config is missing."]
    assert found[2].startswith("job.priority is -1: ")


def test_an_artifact_is_named_by_a_whole_digest():
    (found,) = faults(DataSource, {"kind": "csv", "location": "artifact:12"})
    assert found.endswith("an artifact is named by artifact: and the 64 digits of its SHA-256.")
    assert DataSource(kind="csv", location=f"artifact:{'0' * 64}")


def test_settings_and_task_of_a_training_are_checked_without_a_trainer():
    job = TrainingJob.model_validate(
        {
            "model_name": "m",
            "model": {"entry_point": "a:b"},
            "data": [{"kind": "csv", "location": "x.csv"}],
            "task_spec": {"modality": "vision"},
            "training_config": {"epochs": 0, "batchsize": 2},
        }
    )
    with pytest.raises(InvalidConfigError) as caught:
        check_training(job, "config")
    assert [fault.partition(" ")[0] for fault in caught.value.faults] == [
        "config.training_config:",
        "config.training_config:",
        "config.task_spec:",
    ]
