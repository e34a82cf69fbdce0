"""The variables of every pod are read by the service's own settings, and taken."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path

import pytest

from services.trainer.alive import beat_file
from tests.charts.helm import CASES
from tests.charts.smoke import smoke
from utils.service.settings import WebSettings, read_settings
from utils.training.notifications import NotificationSettings

COMPONENTS = ("registry", "scheduler", "serving", "monitor", "trainer")
CONTENT = {
    "database-url": "postgresql://training:secret@postgres:5432/training",
    "redis-url": "redis://:secret@redis:6379/0",
}
POD = {"metadata.name": "loop-training-engine-trainer-nodes-1"}


def read_as_in_a_pod(container, kind, prefix, folder):
    """The settings that a container's variables make."""
    return read_settings(kind, prefix, environment(container, folder))


def environment(container, folder):
    """A container's variables, with its credentials in a folder here."""
    environ = {}
    for entry in container["env"]:
        value = _given(entry)
        value = value.replace("$(POD_NAME)", environ.get("POD_NAME", ""))
        if value.startswith("/run/training-engine/"):
            path = folder / Path(value).name
            path.write_text(CONTENT.get(path.name, "token"))
            value = str(path)
        environ[entry["name"]] = value
    assert len(environ) == len(container["env"])
    return environ


def _given(entry):
    return entry["value"] if "value" in entry else POD[entry["valueFrom"]["fieldRef"]["fieldPath"]]


def settings_class(service):
    module = importlib.import_module(f"services.{service}.settings")
    return getattr(module, f"{service.capitalize()}Settings"), module.PREFIX


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("service", COMPONENTS)
def test_a_services_settings_take_the_pods_variables(release_of, case, service, tmp_path):
    kind, prefix = settings_class(service)
    for workload in release_of(case).workloads:
        if workload.component.partition("-")[0] != service:
            continue
        (container,) = workload.spec["containers"]
        settings = read_as_in_a_pod(container, kind, prefix, tmp_path)
        mounts = {m["mountPath"]: m.get("readOnly", False) for m in container["volumeMounts"]}
        if isinstance(settings, WebSettings):
            assert settings.host == "0.0.0.0"
            assert settings.port == container["ports"][0]["containerPort"]
        for name in ("work_folder", "log_folder", "staging_folder"):
            if folder := getattr(settings, name, None):
                assert any(_holds(mount, folder) for mount, fixed in mounts.items() if not fixed)


def _holds(mount, folder):
    return folder.is_relative_to(mount) and mount != "/"


@pytest.mark.parametrize("case", CASES)
def test_the_smoke_tests_settings_take_its_variables(release_of, case, tmp_path):
    (container,) = release_of(case).workload("smoke-test").spec["containers"]
    settings = read_as_in_a_pod(container, smoke.SmokeSettings, smoke.PREFIX, tmp_path)
    # The least has no serving, and where only some names are served, this one is none of them.
    assert (settings.serving_url is None) == (case in ("minimal", "everything"))


def test_alert_channels_arrive(release_of, tmp_path):
    (container,) = release_of("everything").workload("monitor").spec["containers"]
    environ = environment(container, tmp_path)
    channels = NotificationSettings.from_environment(environ)
    assert channels.smtp_to == ("ml@example.com", "on-call@example.com")
    assert channels.smtp_password == channels.slack_webhook == "token"
    assert (channels.smtp_host, channels.smtp_user) == ("mail.example.com", "training")
    known = {f"TRAINING_ALERT_{field.name.upper()}" for field in fields(NotificationSettings)}
    given = {name.removesuffix("_FILE") for name in environ if name.startswith("TRAINING_ALERT_")}
    assert given <= known


def test_a_pod_of_a_group_knows_its_place_and_its_leader(release_of, tmp_path):
    kind, prefix = settings_class("trainer")
    release = release_of("nodes")
    (container,) = release.workload("trainer-nodes").spec["containers"]
    settings = read_as_in_a_pod(container, kind, prefix, tmp_path)
    name = "loop-training-engine-trainer-nodes"
    assert settings.group == tuple(f"{name}-{number}.{name}.ml.svc" for number in range(4))
    assert settings.address == settings.group[1]
    assert settings.follows
    assert (settings.gpus, settings.group_seconds) == (8, 900)
    service = release.named("Service", "trainer-nodes")
    assert [port["port"] for port in service["spec"]["ports"]] == [settings.group_port]
    (container,) = release.workload("trainer-cpu").spec["containers"]
    assert not read_as_in_a_pod(container, kind, prefix, tmp_path).group


def test_what_a_case_asks_for_arrives(release_of, tmp_path):
    release = release_of("everything")
    kind, prefix = settings_class("serving")
    (container,) = release.workload("serving").spec["containers"]
    serving = read_as_in_a_pod(container, kind, prefix, tmp_path)
    assert serving.model_names == ("digits", "words")
    assert (serving.backend, serving.sample_rate) == ("onnx", 0.25)
    kind, prefix = settings_class("trainer")
    (container,) = release.workload("trainer-cpu").spec["containers"]
    trainer = read_as_in_a_pod(container, kind, prefix, tmp_path)
    assert trainer.entry_points == ("acme.models:build_detector", smoke.JOB["model"]["entry_point"])
    assert beat_file(trainer.work_folder).parent == Path("/var/lib/training-engine/work")
    kind, prefix = settings_class("registry")
    (container,) = release_of("external-stores").workload("registry").spec["containers"]
    registry = read_as_in_a_pod(container, kind, prefix, tmp_path)
    assert registry.store_url == "s3://models/artifacts"
    assert registry.max_artifact_bytes == 8 * 1024**3
