"""What every image promises, as far as its Dockerfile tells."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docker.dockerfiles import DOCKERFILES, PUBLISHED, ROOT, published, stages_of

SCRIPTS = sorted((ROOT / "docker").glob("*.sh"))
IMAGES = published()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(params=sorted(IMAGES))
def image(request):
    return IMAGES[request.param]


def run(tool, *words):
    command = [Path(sys.executable).with_name(tool), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_is_clean_to_hadolint(path):
    done = run("hadolint", "--no-color", path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_clean_to_shellcheck(path):
    done = run("shellcheck", "--external-sources", path)
    assert done.returncode == 0, done.stdout


def test_every_dockerfile_is_known():
    assert {path.name for path in DOCKERFILES} == set(PUBLISHED)


def test_an_image_runs_as_a_numeric_user_who_is_not_root(image):
    assert image.all_of("USER")[-1] == "10001:10001"


def test_what_a_user_may_write_is_made_before_and_the_code_is_not_theirs(image):
    words = [word for word, _ in image.instructions]
    last_copy = max(place for place, word in enumerate(words) if word == "COPY")
    assert words.index("USER") > last_copy
    assert not any("--chown" in copy for copy in image.all_of("COPY"))
    assert "10001" in image.all_of("RUN")[0]


def test_an_image_starts_its_service_without_a_shell(image):
    (entry,) = image.all_of("ENTRYPOINT")
    assert json.loads(entry) == ["python", "-m", f"services.{image.name}"]
    assert (ROOT / "services" / image.name / "__main__.py").exists()


def test_an_image_says_how_it_is_asked_whether_it_lives(image):
    (check,) = image.all_of("HEALTHCHECK")
    if image.name == "cli":
        assert check == "NONE"
        return
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-m"]
    module = command[2].replace(".", "/") + ".py"
    assert (ROOT / module).exists() or (ROOT / "shared" / module).exists()


def test_an_image_has_labels_and_the_projects_version(image):
    labels = " ".join(image.all_of("LABEL"))
    assert f'org.opencontainers.image.title="training-engine-{image.name}"' in labels
    for label in ("description", "vendor"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert f'org.opencontainers.image.version="{VERSION}"' in labels


def test_the_last_stage_installs_nothing(image):
    assert not any(re.search(r"\b(pip|apt-get|install\.sh)\b", run) for run in image.all_of("RUN"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_base_image_is_an_argument_with_a_version(path):
    first = next(line for line in path.read_text().splitlines() if not line.startswith("#"))
    tag = re.fullmatch(r"ARG BASE_IMAGE=docker\.io/library/python:(\S+)", first)[1]
    assert tag.startswith("3.11")
    stages = stages_of(path)
    assert all(stage.base in {"${BASE_IMAGE}", *stages} for stage in stages.values())


def test_packages_are_pinned_and_leave_no_cache():
    script = (ROOT / "docker" / "install.sh").read_text()
    assert "PIP_CONSTRAINT=$PWD/docker/constraints.txt" in script
    assert "--no-cache-dir" in script
    pins = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    assert [pin for pin in pins if not re.fullmatch(r"[\w.\-]+==[\w.!+]+", pin)] == []


def test_extras_that_are_installed_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    text = "\n".join(path.read_text() for path in DOCKERFILES)
    named = set(re.findall(r"sh docker/install\.sh ([a-z-]+)", text))
    assert named == {
        "registry",
        "scheduler",
        "monitor",
        "cli",
        "trainer",
        "serving",
        "serving-onnx",
    }
    assert named <= set(extras)


def test_a_build_sees_only_what_is_named():
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert set(named) == {
        "pyproject.toml",
        "docker/constraints.txt",
        "docker/install.sh",
        "services",
        "shared/utils",
    }
    assert all((ROOT / name).exists() for name in named)
    assert rules[-1] == "**/__pycache__"


def test_what_is_copied_is_what_a_build_sees():
    allowed = (ROOT / ".dockerignore").read_text().split()
    for path in DOCKERFILES:
        for stage in stages_of(path).values():
            for copy in stage.all_of("COPY"):
                if not copy.startswith("--from"):
                    assert all(f"!{source}" in allowed for source in copy.split()[:-1])
