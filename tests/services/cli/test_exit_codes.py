"""How a script learns what went wrong: one sentence on standard error, and a code."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from services.cli.completion import job_ids, model_ids, model_names
from tests.services.cli.conftest import call

_LAZY = """
import sys
from services.cli.main import app
try:
    app(["--help"], prog_name="trainctl")
except SystemExit:
    pass
print([name for name in ("torch", "sqlalchemy", "flask", "pydantic") if name in sys.modules])
"""


def test_help_loads_nothing_heavy_and_says_the_exit_codes():
    done = subprocess.run(
        [sys.executable, "-c", _LAZY],
        env={"PYTHONPATH": ":".join(sys.path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Exit codes: 0 done; 1 refused" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("submit",), "Give a file with a job"),
        (("submit", "--sample", "digit"), "allowed are digits, cells, text"),
        (("submit", "job.yaml", "--epochs", "2"), "a file says both itself"),
        (("predict", "digits"), "Give a file with instances"),
        (("jobs", "--status", "lost"), "lost"),
        (("nothing",), "nothing"),
    ],
)
def test_wrong_usage_is_2(words, sentence, tmp_path):
    (tmp_path / "job.yaml").write_text("model_name: x\n")
    result = call(*words, folder=tmp_path)
    assert result.code == 2
    assert sentence in result.err
    assert result.out == ""


def test_a_file_that_is_no_job_is_refused_with_all_its_faults(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("model_name: x\ndata: []\n")
    result = call("submit", file, folder=tmp_path)
    assert result.code == 1
    assert "config.model: Field required." in result.err
    assert "config.data:" in result.err


def test_a_file_that_is_no_yaml_is_wrong_usage(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("a: [1\n")
    result = call("submit", file, folder=tmp_path)
    assert (result.code, "neither YAML nor JSON" in result.err) == (2, True)


@pytest.mark.parametrize("words", [("jobs",), ("status",), ("drift",), ("doctor",)])
def test_nobody_to_talk_to_is_3(words, tmp_path):
    result = call(*words, folder=tmp_path)
    assert result.code == 3
    assert "No stack runs in" in result.err


def test_a_service_elsewhere_that_does_not_answer_is_3(monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    monkeypatch.setenv("TRAINING_SCHEDULER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRAINING_TOKEN_FILE", str(token))
    result = call("jobs")
    assert result.code == 3
    assert "http://127.0.0.1:9 did not answer" in result.err
    assert "TRAINING_REGISTRY_URL" in call("models").err
    assert call("status", "--json").json()[0]["condition"] == "unreachable"


def test_what_the_platform_refuses_is_1(trainctl):
    for words in (("job", 9999), ("models", "show", 9999), ("rollback", "none", "--reason", "x")):
        assert trainctl(*words, code=1).err.count("\n") == 1


def test_a_stack_elsewhere_is_spoken_to_with_its_token(trainctl, stack, monkeypatch):
    monkeypatch.setenv("TRAINING_SCHEDULER_URL", stack.urls["scheduler"][0])
    monkeypatch.setenv("TRAINING_TOKEN_FILE", str(stack.token_files["reader"]))
    assert call("jobs", "--json").code == 0
    refused = call("submit", "--sample", "digits")
    assert (refused.code, "role" in refused.err) == (1, True)


def test_nothing_runs_that_could_be_stopped(tmp_path):
    assert call("down", "--json", folder=tmp_path).json()["stopped"] is False


def test_names_and_numbers_are_completed(trained, stack):
    context = SimpleNamespace(params={"folder": stack.folder})
    assert "digits" in model_names(context, "dig")
    assert model_names(context, "zzz") == []
    assert "1" in job_ids(context, "")
    assert "1" in model_ids(context, "1")
