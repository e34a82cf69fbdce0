"""What a new user gets wrong with stores, triggers, profiles, pictures and exports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from utils.training.dashboard import Dashboard
from utils.training.drift_metrics import compare_profiles, profile_dataset
from utils.training.errors import TrainingError
from utils.training.experiment_db import ExperimentDB
from utils.training.export_utilities import create_export_bundle
from utils.training.flash_attention_wrapper import FlashAttentionWrapper
from utils.training.job_queue import JobManager, TrainingScheduler
from utils.training.model_registry import ModelRegistry
from utils.training.retraining_triggers import RetrainingTriggerManager
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

TABLE = TaskSpec(name="rows", modality="tabular", feature_names=("x",))
TEXT = TaskSpec(name="text", vocab_size=64, max_seq_len=16)


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(64, 8)
        self.head = nn.Linear(8, 64)

    def forward(self, input_ids):
        return self.head(self.embed(input_ids))


class Broken(Bigram):
    def forward(self, input_ids):
        return super().forward(input_ids) * float("nan")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    location = tmp_path_factory.mktemp("stores") / "all.db"
    return {
        "models": ModelRegistry(location),
        "runs": ExperimentDB(location),
        "jobs": JobManager(location),
        "schedules": TrainingScheduler(location),
    }


def register(stores, **changes):
    given = {"name": "a", "version": "1", "checkpoint_path": "a.pt", "task_type": "any"}
    return stores["models"].register_model(**given | changes)


def begin(stores, **changes):
    return stores["runs"].log_run("a", {}, **changes)


def submit(stores, **changes):
    return stores["jobs"].submit_job("training", {}, **changes)


def triggers(**values):
    return RetrainingTriggerManager().check_triggers(**values)


def export(model=None, task=TEXT, config=None, **changes):
    return create_export_bundle(
        Bigram() if model is None else model, None, task, config or TrainingConfig(), **changes
    )


STORE_MISTAKES = [
    (lambda s: register(s, checkpoint_path=None), "checkpoint_path is None, allowed is a path"),
    (lambda s: register(s, export_formats="onnx"), "export_formats is 'onnx', allowed is a list"),
    (lambda s: register(s, model_size_mb=-1), "model_size_mb is -1.0, allowed is a number from 0"),
    (lambda s: register(s, model_size_mb="big"), "model_size_mb is 'big', allowed is a number"),
    (lambda s: register(s, training_run_id="x"), "training_run_id is 'x', allowed is a whole"),
    (lambda s: register(s, metadata=[1]), "metadata is a list, allowed is a dict"),
    (lambda s: register(s, metrics=[1]), "metrics is a list, allowed is a dict"),
    (lambda s: s["models"].get_model("1"), "model_id is '1', allowed is a whole number"),
    (lambda s: s["models"].promote_model(None, "production"), "model_id is None, allowed is a who"),
    (lambda s: s["models"].compare_models(1), "model_ids is 1, allowed is a list of whole numbers"),
    (lambda s: s["models"].compare_models(["1"]), "A number in model_ids is '1', allowed is a who"),
    (
        lambda s: s["runs"].log_run("a", TrainingConfig()),
        r"config is a TrainingConfig, allowed is a dict; give config.to_dict\(\)",
    ),
    (lambda s: s["runs"].log_params(begin(s), 5), "params is 5, allowed is a dict"),
    (lambda s: s["runs"].set_tags(begin(s), "good"), "tags is 'good', allowed is a dict"),
    (lambda s: s["runs"].log_metric("1", "loss", 1), "run_id is '1', allowed is a whole number"),
    (
        lambda s: s["runs"].log_metric(1, "loss", torch.ones(3)),
        "The metric 'loss' is tensor.*one n",
    ),
    (lambda s: s["runs"].log_metrics(1, 5), "points is 5, allowed are values by name, or a list"),
    (lambda s: s["runs"].log_artifact(1, None), "path is None, allowed is where the artifact lies"),
    (lambda s: s["runs"].update_run_status(1, None), "Unknown status 'None'"),
    (lambda s: s["runs"].get_run("x"), "run_id is 'x', allowed is a whole number"),
    (lambda s: s["runs"].compare_runs(1), "run_ids is 1, allowed is a list of whole numbers"),
    (lambda s: submit(s, after=1), "after is 1, allowed is a list of whole numbers"),
    (lambda s: submit(s, run_after="tomorrow"), "run_after is 'tomorrow', a datetime is allowed"),
    (lambda s: s["jobs"].claim_job("w", lease_seconds="60"), "lease_seconds is '60', more than 0"),
    (lambda s: s["jobs"].claim_job("w", job_types=[5]), r"job_types is \[5\], names of types are"),
    (lambda s: s["jobs"].delete_finished("then"), "finished_before is 'then', a datetime is allow"),
    (lambda s: s["schedules"].preview(None), "A cron expression can't be None: give text"),
]
MISTAKES = [
    (lambda: RetrainingTriggerManager(drift_threshold="x"), "drift_threshold is 'x', allowed is a"),
    (lambda: triggers(drift_score="high"), "drift_score is 'high', allowed is a number, or None"),
    (lambda: triggers(new_data_count="many"), "new_data_count is 'many', allowed is a number"),
    (
        lambda: triggers(current_metrics=[1]),
        r"current_metrics is \[1\], allowed is a dict, or None",
    ),
    (lambda: triggers(current_metrics={"a": "b"}), r"current_metrics\['a'\] is 'b', allowed is a"),
    (lambda: triggers(last_train_timestamp=5), "last_train_timestamp is 5; give an ISO 8601 time"),
    (lambda: profile_dataset("data.csv", TABLE), "The data set is 'data.csv'; load what it names"),
    (lambda: profile_dataset([{"x": 1}], None), "task_spec is None, allowed is a TaskSpec"),
    (
        lambda: profile_dataset([1], TABLE, max_samples="3"),
        "max_samples is '3', allowed is 1 or mor",
    ),
    (lambda: compare_profiles({"version": 1, "features": 5}, {}), "make the profile again"),
    (
        lambda: Dashboard().plot("metrics.csv"),
        "metrics_df is 'metrics.csv', allowed is a data frame",
    ),
    (
        lambda: Dashboard().plot([], config=5),
        "config is 5, allowed is a TrainingConfig, a dict, or",
    ),
    (lambda: Dashboard().plot([], title=None), "title is None, allowed is text"),
    (
        lambda: Dashboard().plot_with_drift([], 5),
        "drift_data is 5, allowed is a list of DriftMetrics",
    ),
    (lambda: FlashAttentionWrapper("gpt2"), "model is 'gpt2', allowed is an nn.Module"),
    (lambda: export(model=Bigram), "model is the class Bigram, allowed is an nn.Module"),
    (lambda: export(task="text"), "task_spec is 'text', allowed is a TaskSpec"),
    (lambda: export(config={"a": 1}), "training_config is a dict, allowed is a TrainingConfig"),
    (lambda: export(tokenizer="gpt2"), "tokenizer is 'gpt2', allowed is a transformers fast token"),
    (
        lambda: export(sample_batch=[1]),
        "sample_batch is a list, allowed is a dict of tensors, or N",
    ),
    (
        lambda: export(sample_batch={"input_ids": np.ones((2, 3))}),
        r"sample_batch\['input_ids'\] is a ndarray, allowed is a tensor",
    ),
    (
        lambda: export(config=TrainingConfig(export_formats=["onxx"])),
        r"export_formats holds \['onxx'\], allowed are onnx, torchscript, pytorch",
    ),
    (
        lambda: export(task=TaskSpec(name="text", vocab_size=9999)),
        r"can't run on a sample of its task \(input_ids \[2, 12\]\): index out of range .* Task",
    ),
    (
        lambda: export(model=Broken()),
        "answers a sample of its task .* with NaN or Inf; export the w",
    ),
]


@pytest.mark.parametrize(("mistake", "answer"), STORE_MISTAKES)
def test_a_mistake_with_a_store_is_answered_in_one_sentence(stores, mistake, answer):
    with pytest.raises((TrainingError, TypeError, ValueError), match=answer) as error:
        mistake(stores)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("mistake", "answer"), MISTAKES)
def test_a_mistake_is_answered_in_one_sentence(mistake, answer, tmp_path):
    with pytest.raises((TrainingError, TypeError, ValueError), match=answer) as error:
        mistake()
    assert "\n" not in str(error.value).removeprefix("Invalid configuration, 1 fault:\n")
    assert not list(tmp_path.glob("exports/*"))


def test_a_file_in_place_of_the_export_folder_is_said(tmp_path):
    (tmp_path / "exports").write_text("not a folder")
    with pytest.raises(NotADirectoryError, match="export_dir is exports, which is a file; give a"):
        export()


def test_numbers_of_numpy_are_ids_too(stores):
    model_id = register(stores, version="np", training_run_id=np.int64(4))
    found = stores["models"].get_model(np.int64(model_id))
    assert (found.version, found.training_run_id) == ("np", 4)
