"""What an orchestrator's probe learns of a worker, from real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from services.trainer.alive import beat_file, main
from tests.waiting import wait_until
from utils.service.embedded.child import Child
from utils.service.embedded.valkey import ValkeyServer


@pytest.fixture
def redis(tmp_path):
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def folder(tmp_path, redis, monkeypatch):
    values = {
        "REDIS_URL": redis.url(),
        "SCHEDULER_URL": "http://127.0.0.1:9",
        "REGISTRY_URL": "http://127.0.0.1:9",
        "TOKEN_FILE": tmp_path / "token",
        "DATA_FOLDER": tmp_path / "data",
        "WORK_FOLDER": tmp_path / "work",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"TRAINING_TRAINER_{name}", str(value))
    return tmp_path / "work"


@pytest.fixture
def worker(folder, tmp_path, pytestconfig):
    child = Child("trainer", tmp_path / "trainer.log")
    command = [sys.executable, "-m", "services.trainer"]
    child.start(command, env=os.environ, cwd=pytestconfig.rootpath)
    wait_until(beat_file(folder).exists)
    yield child
    child.stop()


def _grow_old(path):
    then = time.time() - 3600
    os.utime(path, (then, then))


def test_a_worker_that_turns_is_alive_and_ready_and_a_frozen_one_is_neither(worker, folder, capsys):
    assert main([]) == 0
    assert main(["ready"]) == 0
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        _grow_old(beat_file(folder))
        assert main([]) == 1
        assert "silent for 36" in capsys.readouterr().err
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    wait_until(lambda: main([]) == 0)


def test_a_worker_without_redis_waits_alive_but_takes_no_work(folder, redis):
    assert main([]) == 1
    redis.stop()
    assert main([]) == 0
    assert main(["ready"]) == 1


def test_a_dead_workers_beat_is_not_the_next_ones(folder, tmp_path, redis, pytestconfig):
    folder.mkdir()
    beat_file(folder).touch()
    redis.stop()
    command = [sys.executable, "-m", "services.trainer"]
    process = subprocess.Popen(command, cwd=pytestconfig.rootpath, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: not beat_file(folder).exists())
    finally:
        process.kill()
        process.wait()
