"""Secrets stay where they belong: in no log, no argument, no answer, no image, no trainer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.trainer.settings import TrainerSettings
from utils.service.auth import read_tokens
from utils.service.embedded.child import free_port
from utils.training.errors import InvalidConfigError

ROOT = Path(__file__).parents[2]
WORD = "hunter2-and-more"  # a password that no part of the platform knows
BINARY = {".onnx", ".pt", ".tar", ".png", ".mar"}


def processes(platform, kind=None):
    """The processes of the platform's services, children included."""
    for service in platform.stack.state.services:
        if service.pid is not None and kind in (None, service.kind):
            process = psutil.Process(service.pid)
            yield from [process, *process.children(recursive=True)]


def test_a_trainer_is_given_no_credentials_of_a_database(served, tried):
    walked = 0
    for process in processes(served, "trainer"):
        environment = process.environ()
        text = "\n".join(f"{name}={value}" for name, value in environment.items())
        assert "postgres" not in re.sub(re.escape(str(ROOT)), "", text).lower()
        assert not [name for name in environment if "DATABASE" in name]
        assert served.database_url not in text
        walked += len(environment)
    assert walked
    assert not [name for name in TrainerSettings.model_fields if "database" in name]
    tried("secrets", "variables of trainers' processes", walked)


def test_no_connection_of_a_trainer_leads_to_the_database(served, tried):
    port = int(re.search(r":(\d+)/", served.database_url)[1])
    found = [
        connection
        for process in processes(served, "trainer")
        for connection in process.net_connections("tcp")
    ]
    assert found, "a trainer speaks to somebody"
    assert not [c for c in found if c.raddr and c.raddr.port == port]
    tried("secrets", "connections of trainers", len(found))


def test_no_argument_and_no_variable_holds_a_secret(served, tried):
    walked = 0
    for process in processes(served):
        served.check_silence("\n".join(process.cmdline()), f"the arguments of {process}")
        if process.name() not in {"postgres", "valkey-server"}:
            served.check_silence(str(process.environ()), f"the environment of {process}")
        walked += 1
    tried("secrets", "processes", walked)


def test_no_file_but_the_secrets_own_holds_one(served, tried):
    """After a training, a promotion, predictions, and requests that failed in all ways."""
    for service in served.urls:
        served.send(service, "GET", "/nowhere", None, headers={"Authorization": "Bearer wrong"})
        headers = {"Authorization": f"Bearer {served.tokens['admin']} and more"}
        served.send(service, "GET", "/v1/models", None, headers=headers)
        served.send(service, "POST", "/v1/models", content=b"{")
    walked = 0
    for path in served.folder.rglob("*"):
        inner = path.relative_to(served.folder).parts[0]
        if inner in {"secrets", "postgres", "valkey"} or not path.is_file():
            continue
        if path.suffix not in BINARY:
            served.check_silence(path.read_text(errors="replace"), str(path))
            walked += 1
    tried("secrets", "logs and other files", walked)


def run(module, **settings):
    """Start a service that can't start, and give what it said."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'shared'}"} | settings
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_database_that_does_not_answer_is_told_of_without_its_password(scheme, tried):
    url = f"{scheme}://training:{WORD}@127.0.0.1:{free_port()}/training"
    said = run("utils.training.database", TRAINING_DATABASE_URL=url)
    assert WORD not in said, said
    tried("secrets", "errors")


def test_a_service_with_faulty_settings_names_no_value_of_a_secret(tmp_path, tried):
    said = run(
        "services.registry",
        TRAINING_REGISTRY_DATABASE_URL=f"postgresql://u:{WORD}@127.0.0.1:1/x",
        TRAINING_REGISTRY_REDIS_URL=f"redis://:{WORD}@127.0.0.1:1/0",
        TRAINING_REGISTRY_PORT="no number",
    )
    assert "TRAINING_REGISTRY_PORT" in said
    assert WORD not in said, said
    tried("secrets", "errors")


def test_a_token_in_the_place_of_its_digest_is_not_repeated(tmp_path, tried):
    path = tmp_path / "tokens.json"
    for text in (
        f'[{{"name": "a", "role": "admin", "sha256": "{WORD}"}}]',
        f'[{{"name": "a", "role": "admin", "token": "{WORD}"}}]',
        f'["{WORD}"]',
        f'"{WORD}"',
        f"{WORD}",
    ):
        path.write_text(text)
        with pytest.raises(InvalidConfigError) as refused:
            read_tokens(path)
        assert WORD not in str(refused.value)
        assert WORD not in repr(refused.value.__cause__)
        tried("secrets", "errors")


def test_no_image_is_built_with_a_secret(tried):
    files = sorted((ROOT / "docker").glob("*Dockerfile"))
    assert files
    words = re.compile(r"(?i)(password|passwd|secret|token|credential|api_?key|private)")
    for path in files:
        text = path.read_text().replace("\\\n", " ")
        for line in text.splitlines():
            instruction = line.split(" ", 1)[0].upper()
            if instruction in {"ARG", "ENV", "LABEL"}:
                assert not words.search(line), (path.name, line)
                tried("secrets", "instructions of Dockerfiles")
            if instruction in {"COPY", "ADD"}:
                assert "secrets" not in line, (path.name, line)
