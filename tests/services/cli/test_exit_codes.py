"""How a script learns what went wrong: one sentence on standard error, and a code."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import yaml

from services.cli.completion import job_ids, model_ids, model_names, schedule_names
from services.cli.submission import read_mapping, read_submission
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
        (("submit",), "Give either a file with a job"),
        (("submit", "--sample", "digits", "--watch", "--wait"), "either --watch or --wait"),
        (("job", "0"), "greater than or equal to 1"),
        (("compare", "1", "-1"), "No such option"),
        (("up", "--entry-point", "shoes.build"), "allowed is package.module:function"),
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
    assert "config.model is missing." in result.err
    assert "config.data:" in result.err


def test_faults_of_settings_and_task_are_found_before_a_trainer_does(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        "model_name: x\n"
        "model: {entry_point: 'a.b:c'}\n"
        "data: [{kind: csv, location: 'artifact:12'}]\n"
    )
    assert "64 digits" in call("submit", file, folder=tmp_path).err
    file.write_text(
        "model_name: x\n"
        "model: {entry_point: 'a.b:c'}\n"
        "data: [{kind: csv, location: x.csv}]\n"
        "task_spec: {name: x, modality: table}\n"
        "training_config: {epoch: 3, batch_size: 0}\n"
    )
    result = call("submit", file, folder=tmp_path)
    assert result.code == 1
    assert "config.training_config: Unknown field 'epoch'." in result.err
    assert "config.training_config: batch_size is 0" in result.err
    assert "Did you mean: tabular?" in result.err


def test_numbers_are_read_as_people_write_them(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("training_config: {learning_rate: 1e-3, weight_decay: 1.E-2, notes: 1e-3x}\n")
    settings = {"learning_rate": 0.001, "weight_decay": 0.01, "notes": "1e-3x"}
    assert read_mapping(file) == {"training_config": settings}


def test_a_file_that_is_no_yaml_is_wrong_usage(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("a: [1\n")
    result = call("submit", file, folder=tmp_path)
    assert (result.code, "neither YAML nor JSON; line 2" in result.err) == (2, True)
    file.write_bytes(b"\xff\xfe\x00")
    assert "no text in UTF-8" in call("submit", file, folder=tmp_path).err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("schedules", "create", "a b", "0 3 * * *", "--sample", "digits"), "name is 'a b'"),
        (("submit", "--sample", "digits", "--model-name", "a b"), "a letter or digit, then"),
        (("submit", "--sample", "digits", "--reason", "x" * 501), "reason: String should have"),
        (("promote", "1", "--reason", "x" * 501), "reason: String should have"),
    ],
)
def test_what_no_service_would_take_is_refused_in_a_sentence(words, sentence, tmp_path):
    result = call(*words, folder=tmp_path)
    assert (result.code, result.out) == (1, "")
    assert sentence in result.err


def test_what_only_a_single_job_has_is_no_schedules(tmp_path):
    file = tmp_path / "job.yaml"
    job = read_submission(None, "digits", None, None, {"after": [3]}).model_dump(mode="json")
    file.write_text(yaml.safe_dump(job))
    result = call("schedules", "create", "nightly", "0 3 * * *", file, folder=tmp_path)
    assert (result.code, "for a job that runs once" in result.err) == (2, True)


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


@pytest.mark.parametrize(
    ("url", "token", "sentence"),
    [
        ("scheduler.example.org", "secret", "begins with http:// or https://"),
        ("http://127.0.0.1:9", None, "which can't be read"),
        ("http://127.0.0.1:9", "\n", "holds no token"),
    ],
)
def test_an_environment_that_can_not_be_meant_is_2(monkeypatch, tmp_path, url, token, sentence):
    file = tmp_path / "token"
    if token is not None:
        file.write_text(token)
    monkeypatch.setenv("TRAINING_SCHEDULER_URL", url)
    monkeypatch.setenv("TRAINING_TOKEN_FILE", str(file))
    result = call("jobs")
    assert (result.code, sentence in result.err) == (2, True)


def test_an_address_of_something_else_is_told_as_that(monkeypatch):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TRAINING_SCHEDULER_URL", f"http://127.0.0.1:{server.server_port}")
        result = call("jobs")
        server.shutdown()
    assert (result.code, "see that the address is that of the service" in result.err) == (1, True)


def test_what_the_platform_refuses_is_1(trainctl):
    for words in (
        ("job", 9999),
        ("cancel", 9999),
        ("logs", 9999),
        ("watch", 9999),
        ("models", "show", 9999),
        ("promote", 9999),
        ("rollback", "none", "--reason", "x"),
        ("schedules", "pause", 9999),
        ("schedules", "history", "none"),
        ("schedules", "delete", 9999),
        ("triggers", "explain", "none"),
        ("triggers", "delete", "none"),
        ("submit", "--sample", "digits", "--after", 9999),
    ):
        said = trainctl(*words, code=1).err
        assert said.count("\n") == 1
        assert not re.search(r"GET|PUT|/v1|list_|URL", said), said


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
    assert str(trained.job_id) in job_ids(context, "")
    assert "1" in model_ids(context, "1")
    assert schedule_names(context, "zzz") == []
