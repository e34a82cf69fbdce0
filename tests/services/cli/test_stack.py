"""A stack keeps its secrets, its ports and its data, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import stat
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest

from services.cli.stack.errors import StackError
from services.cli.stack.options import StackOptions
from services.cli.stack.stack import Stack
from tests.services.cli.conftest import call, is_alive, start_trainctl
from tests.waiting import wait_until


def _descendants(pid):
    return psutil.Process(pid).children(recursive=True)


def test_secrets_are_their_owners_alone_and_in_no_process_list(stack):
    secrets = stack.folder / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    files = list(secrets.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((stack.folder / "stack.json").stat().st_mode) == 0o600
    words = [file.read_text() for file in files if file.suffix in (".token", ".password")]
    said = []
    for process in _descendants(os.getpid()):
        with suppress(psutil.NoSuchProcess):  # a backend of Postgres comes and goes
            said.append(" ".join(process.cmdline()))
    said += [path.read_text(errors="replace") for path in (stack.folder / "logs").iterdir()]
    said.append((stack.folder / "stack.json").read_text())
    assert not [word for word in words for text in said if word in text]


def test_each_service_has_a_log_and_each_role_a_token(stack):
    logs = {path.stem for path in (stack.folder / "logs").iterdir()}
    assert logs >= {service.name for service in stack.state.services}
    assert {"reader", "submitter", "trainer", "admin", "trainer-1"} <= set(stack.token_files)


@pytest.mark.parametrize("name", ["scheduler-1", "valkey"])
def test_a_service_that_is_killed_is_started_again_at_its_address(stack, trainctl, name):
    before = stack.service(name)
    os.kill(before.pid, signal.SIGKILL)

    def is_back():
        now = stack.service(name)
        return now.pid not in (None, before.pid) and now.condition == "ready"

    wait_until(is_back)
    assert stack.service(name).url == before.url
    assert stack.service(name).restarts == before.restarts + 1
    trainctl("jobs")


def test_a_second_stack_in_the_same_folder_is_refused(stack):
    with pytest.raises(StackError, match="already, process"):
        Stack(stack.folder).start()


def test_a_service_that_does_not_come_up_is_named_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    options = StackOptions(prometheus=True)
    with pytest.raises(StackError, match="No program called prometheus"):
        Stack(tmp_path / "stack", options).start()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "celery.py").write_text("raise SystemExit('no queue today')\n")
    with pytest.raises(StackError) as caught:
        Stack(tmp_path / "stack").start()
    assert "scheduler-1 ended while starting." in str(caught.value)
    assert "no queue today" in str(caught.value)
    assert str(tmp_path / "stack" / "logs" / "scheduler-1.log") in str(caught.value)


@pytest.fixture(scope="module")
def detached(tmp_path_factory, stack):
    """A second stack, of two schedulers and two trainers, kept up by a process of its own."""
    folder = tmp_path_factory.mktemp("detached") / "b stack"
    done = start_trainctl("up", "--detach", "--schedulers", "2", "--trainers", "2", folder=folder)
    assert done.returncode == 0, done.stderr
    yield SimpleNamespace(folder=folder, said=done.stdout)
    assert call("down", folder=folder).code == 0


def _state(folder):
    return json.loads((folder / "stack.json").read_text())


def test_two_stacks_run_at_once(detached, stack, trainctl):
    assert "is ready" in detached.said
    services = call("status", "--json", folder=detached.folder).json()["services"]
    names = {service["name"] for service in services}
    assert {"scheduler-1", "scheduler-2", "trainer-1", "trainer-2"} <= names
    assert call("jobs", "--json", folder=detached.folder).json() == []
    theirs = {service["url"] for service in services} - {None}
    assert not theirs & {url for urls in stack.urls.values() for url in urls}


def test_commands_use_the_scheduler_that_is_ready(detached):
    first = next(s for s in _state(detached.folder)["services"] if s["name"] == "scheduler-1")
    os.kill(first["pid"], signal.SIGSTOP)
    for child in _descendants(first["pid"]):
        child.send_signal(signal.SIGSTOP)
    try:
        assert call("jobs", folder=detached.folder).code == 0
    finally:
        for child in _descendants(first["pid"]):
            child.send_signal(signal.SIGCONT)
        os.kill(first["pid"], signal.SIGCONT)


def test_nothing_outlives_a_killed_supervisor_and_everything_is_there_again(detached):
    folder = detached.folder
    words = ("submit", "--sample", "digits", "--epochs", "300", "--json")
    job = call(*words, folder=folder).json()["job_id"]

    def runs():
        found = call("job", job, "--json", folder=folder).json()["job"]
        return (found["progress"] or {}).get("step")

    wait_until(runs)
    before = _state(folder)
    processes = _descendants(before["pid"])
    assert len(processes) > 10
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: not [one for one in processes if is_alive(one)])
    assert "was killed" in call("status", folder=folder).err

    again = start_trainctl("up", "--detach", folder=folder)
    assert again.returncode == 0, again.stderr
    after = {s["name"]: s["url"] for s in _state(folder)["services"]}
    urls = {s["name"]: s["url"] for s in before["services"]}
    assert after["registry"] == urls["registry"]
    assert after["scheduler-1"] == urls["scheduler-1"]
    assert call("cancel", job, "--json", folder=folder).json()["job_id"] == job
