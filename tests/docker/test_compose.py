"""The compose file: its schema, the services' own settings, confinement, secrets."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from docker.smoke_test.compose import read_compose
from services.monitor.settings import MonitorSettings
from services.registry.settings import RegistrySettings
from services.scheduler.settings import SchedulerSettings
from services.serving.settings import ServingSettings
from services.trainer.settings import TrainerSettings
from tests.charts.helm import CHART
from tests.docker.dockerfiles import ROOT
from utils.service.auth import TokenBook
from utils.service.settings import read_settings

COMPOSE = read_compose({})
SERVICES = COMPOSE["services"]
SETTINGS = {
    "registry": RegistrySettings,
    "scheduler": SchedulerSettings,
    "serving": ServingSettings,
    "trainer": TrainerSettings,
    "monitor": MonitorSettings,
}
OURS = {*SETTINGS, "cli", "migration"}
STORES = {"postgres", "redis"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    for _ in range(2):  # the second time changes nothing
        subprocess.run([ROOT / "docker" / "secrets.sh", folder], check=True)
    return folder


def test_the_file_fits_the_schema_of_compose_files():
    package = Path(importlib.util.find_spec("check_jsonschema").origin).parent
    schema = json.loads((package / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)


@pytest.mark.parametrize("service", SETTINGS)
def test_each_variable_is_a_setting_of_its_service(service, secrets):
    environment = {
        name: str(value).replace("/run/secrets", str(secrets))
        for name, value in SERVICES[service]["environment"].items()
    }
    settings = read_settings(SETTINGS[service], f"TRAINING_{service.upper()}", environment)
    assert settings.log_level == "INFO"


def test_a_service_is_given_the_secrets_that_it_names_and_no_others():
    for name, service in SERVICES.items():
        text = json.dumps([service.get(key) for key in ("environment", "command", "healthcheck")])
        given = set(service.get("secrets", ()))
        assert given == {secret for secret in COMPOSE["secrets"] if f"secrets/{secret}" in text}, (
            name
        )


def test_secrets_are_made_once_and_closed_to_others(secrets):
    made = {path.name for path in secrets.iterdir()}
    assert set(COMPOSE["secrets"]) <= made
    assert secrets.stat().st_mode & 0o077 == 0
    before = {path: path.read_text() for path in secrets.iterdir()}
    subprocess.run([ROOT / "docker" / "secrets.sh", secrets], check=True)
    assert {path: path.read_text() for path in secrets.iterdir()} == before


def test_tokens_have_the_roles_that_the_chart_gives_them(secrets):
    book = TokenBook(secrets / "tokens.json")
    callers = {
        name: book.caller((secrets / f"token-{name}").read_text()).role
        for name in ("admin", "submitter", "reader", "serving", "monitor", "trainer")
    }
    assert callers == {
        "admin": "admin",
        "submitter": "submitter",
        "reader": "reader",
        "serving": "reader",
        "monitor": "submitter",
        "trainer": "trainer",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert "pids_limit" in service
    assert not {"privileged", "network_mode", "pid", "devices", "cap_add"} & set(service)
    if name in STORES:
        assert service["user"] == "999:999"
        assert "healthcheck" in service


def test_images_have_versions_and_ours_are_the_charts():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in STORES:
        image = values["postgresql" if name == "postgres" else name]["image"]
        assert (
            SERVICES[name]["image"] == f"{image['registry']}/{image['repository']}:{image['tag']}"
        )
    for name in OURS - {"migration"}:
        assert SERVICES[name]["image"] == f"training-engine-{name}:4.0.0"
    assert read_compose({"VERSION": "9"})["services"]["trainer"]["image"].endswith(":9")
    changed = read_compose({"TRAINER_VERSION": "9-cuda"})["services"]["trainer"]["image"]
    assert changed == "training-engine-trainer:9-cuda"


def test_memory_is_what_the_chart_gives():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in ("registry", "scheduler", "serving", "monitor"):
        limit = values[name]["resources"]["limits"]["memory"]
        assert SERVICES[name]["mem_limit"] == limit.removesuffix("i").lower()


def test_services_meet_those_that_they_speak_to_and_trainers_no_others():
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    for name, service in SERVICES.items():
        for value in service.get("environment", {}).values():
            for other in OURS:
                if str(value).startswith(f"http://{other}:"):
                    assert networks[name] & networks[other], (name, other)
        if "redis-url" in service.get("secrets", ()):
            assert networks[name] & networks["redis"]
        assert ("database-url" in service.get("secrets", ())) == (
            name != "postgres" and "database" in networks[name]
        )
    assert all(COMPOSE["networks"][network]["internal"] for network in networks["trainer"])


def test_ports_answer_this_machine_alone():
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == len({port.split(":")[1] for port in ports}) == 4
    assert all(port.startswith("127.0.0.1:") and port.endswith(":8000") for port in ports)
