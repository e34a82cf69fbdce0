"""Jobs that ask a trainer for what is not theirs: refused in a sentence, before anything runs."""

from __future__ import annotations

import time

import pytest

from services.trainer.run.artifacts import ArtifactCache
from services.trainer.run.data import DataReader
from services.trainer.run.errors import DataError
from services.trainer.run.models import ModelSourceError, build_model
from services.trainer.run.training import settings_of
from services.trainer.samples import load_sample
from services.trainer.settings import SAMPLE_MODELS
from tests.security.platform import job_config
from utils.service.contracts.jobs import DataSource, ModelSource, TrainingJob
from utils.training.errors import InvalidConfigError

CONFIGS = {
    "a model's name that climbs": {"model_name": "../../etc"},
    "a model's name with a new line": {"model_name": "digits\n"},
    "an entry point that is code": {"model": {"entry_point": "os:system('id')"}},
    "an entry point that is a path": {"model": {"entry_point": "../evil.py:build"}},
    "two models": {"model": {"entry_point": "a:b", "transformers": {}}},
    "no model": {"model": {}},
    "no data": {"data": []},
    "too much data": {"data": [{"kind": "sample", "location": "digits"}] * 21},
    "data of an unknown kind": {"data": [{"kind": "pickle", "location": "x.pkl"}]},
    "an unknown field": {"pre_exec": "id"},
    "a gate without confidence": {"gate": {"confidence": 0}},
}
ENTRY_POINTS = [
    "os:system",
    "builtins:eval",
    "subprocess:run",
    "torch.hub:load",
    "services.trainer.samples.digits:load_digits",
    "services.trainer.samples.digits:build_model.__globals__",
    "services.trainer.samples.digits:build_model ",
]
LOCATIONS = [
    "/etc/passwd",
    "../outside.csv",
    "a/../../outside.csv",
    "link/passwd",
    "artifact:../../etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1/x.csv",
    "s3://bucket/x.csv",
    "~/.bashrc",
]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_hostile_config_is_refused_where_it_is_submitted(kind, platform, tried):
    body = {"job_type": "training", "config": job_config(**CONFIGS[kind])}
    answer = platform.refuses("scheduler", "POST", "/v1/jobs", "submitter", by={422}, json=body)
    assert "config." in answer.json()["detail"]
    tried("hostile inputs", "job configs")


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_an_entry_point_off_the_list_is_not_even_imported(entry_point, tried):
    source = ModelSource.model_construct(entry_point=entry_point, arguments={"command": "id"})
    with pytest.raises(ModelSourceError, match="not on this trainer's list"):
        build_model(source, load_sample("digits").task_spec, SAMPLE_MODELS, 0)
    tried("hostile inputs", "entry points")


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "custom_pipelines"])
def test_a_transformers_config_brings_no_code(key, tried):
    source = ModelSource(transformers={"model_type": "gpt2", key: {"AutoConfig": "evil--x.Y"}})
    with pytest.raises(ModelSourceError, match="foreign code"):
        build_model(source, load_sample("digits").task_spec, SAMPLE_MODELS, 0)
    tried("hostile inputs", "job configs")


@pytest.mark.parametrize("location", LOCATIONS)
def test_data_is_read_from_the_data_folder_alone(location, tmp_path, tried):
    (tmp_path / "outside.csv").write_text("a,labels\n1,0\n")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link").symlink_to("/etc")
    reader = DataReader(folder, ArtifactCache(None, tmp_path / "kept", tmp_path / "work", 1000))
    if location.startswith("artifact:"):
        with pytest.raises(Exception):  # noqa: B017, PT011 - there is no store here to ask
            reader.dataset(
                DataSource(kind="csv", location=location), load_sample("cells").task_spec
            )
        assert not (tmp_path / "kept").exists() or not list((tmp_path / "kept").iterdir())
    else:
        with pytest.raises(DataError) as refused:
            reader.dataset(
                DataSource(kind="csv", location=location), load_sample("cells").task_spec
            )
        assert str(refused.value).endswith(".")
    tried("hostile inputs", "data locations")


@pytest.mark.parametrize(
    "folder", ["checkpoint_dir", "export_dir", "profile_dir", "tensorboard_dir"]
)
def test_a_job_writes_into_its_own_folder(folder, tried):
    job = TrainingJob.model_validate(job_config(training_config={folder: "/etc"}))
    assert not getattr(settings_of(job, num_nodes=1), folder).startswith("/")
    tried("hostile inputs", "job configs")


@pytest.mark.parametrize(
    "changes",
    [
        {"use_mlflow": True, "mlflow_tracking_uri": "sqlite:////tmp/evil.db"},
        {"email_alerts": True},
        {"slack_alerts": True},
    ],
)
def test_a_job_chooses_no_tracking_server_and_writes_to_nobody(changes, tried):
    job = TrainingJob.model_validate(job_config(training_config=changes))
    with pytest.raises(InvalidConfigError, match=f"{list(changes)[-1]} is given; leave it out"):
        settings_of(job, num_nodes=1)
    tried("hostile inputs", "job configs")


def test_a_real_trainer_refuses_what_it_must_and_goes_on(served, tried):
    scheduler = served.scheduler["submitter"]
    config = job_config(model_name="evil", model={"entry_point": "os:system"})
    job = scheduler.submit("training", config)
    deadline = time.monotonic() + 120
    while not (found := scheduler.get_job(job.job_id)).is_finished:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert found.status.value == "failed"
    assert "not on this trainer's list" in found.error
    assert found.attempt == 1
    page = served.send("registry", "GET", "/v1/models?name=evil", "reader").json()
    assert page["items"] == []
    tried("hostile inputs", "entry points")
