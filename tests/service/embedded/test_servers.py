"""The embedded servers, started for real."""

import signal
import socket
import subprocess
import sys
from collections import deque

import psycopg
import pytest
import redis

from tests.waiting import wait_until
from utils.service.embedded import child
from utils.service.embedded.child import Child, ServerError, free_port, secret
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_postgres_keeps_acknowledged_rows_over_a_crash_and_a_restart(tmp_path):
    server = PostgresServer(tmp_path / "a folder with spaces")
    with server:
        url = server.create_database("store")
        assert server.create_database("store") == url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE seen (n int)")
            connection.execute("INSERT INTO seen VALUES (1)")
        server.kill()
        assert server.pid is None
        server.start()
        with psycopg.connect(server.url("store")) as connection:
            assert connection.execute("SELECT n FROM seen").fetchall() == [(1,)]
    assert server.pid is None


def test_postgres_refuses_a_wrong_password(tmp_path):
    with PostgresServer(tmp_path) as server:
        url = server.url().replace(server._password(), "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url)


def test_valkey_keeps_writes_over_a_restart_and_wants_its_password(tmp_path):
    server = ValkeyServer(tmp_path)
    with server:
        with redis.Redis.from_url(server.url()) as client:
            client.set("training:x", "1")
        with (
            redis.Redis(port=server.port) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()
    with server, redis.Redis.from_url(server.url()) as client:
        assert client.get("training:x") == b"1"


def test_no_password_is_in_a_process_list(tmp_path):
    with PostgresServer(tmp_path) as postgres, ValkeyServer(tmp_path) as valkey:
        for server in (postgres, valkey):
            with open(f"/proc/{server.pid}/cmdline", encoding="utf-8") as cmdline:
                assert server._password() not in cmdline.read()


def test_servers_die_with_a_killed_parent(tmp_path):
    script = (
        "import sys, time, pathlib\n"
        "from utils.service.embedded.postgres import PostgresServer\n"
        "from utils.service.embedded.valkey import ValkeyServer\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "a, b = PostgresServer(folder).start(), ValkeyServer(folder).start()\n"
        "print(a.pid, b.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_a_server_that_cannot_start_says_why(tmp_path):
    child = Child("A server", tmp_path / "log")
    child.start([sys.executable, "-c", "raise SystemExit('the port is taken')"])
    with pytest.raises(ServerError, match="the port is taken"):
        child.wait_until(lambda: False, 20)


def test_a_server_that_is_never_ready_is_given_up_and_can_be_killed(tmp_path):
    child = Child("A server", tmp_path / "log")
    child.start(
        [
            sys.executable,
            "-c",
            "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)",
        ]
    )
    with pytest.raises(ServerError, match=r"not ready within 0\.2 s"):
        child.wait_until(lambda: False, 0.2)
    child.stop(timeout_seconds=0.2)
    assert child.pid is None


def test_a_secret_is_made_once_and_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "password"
    assert secret(path, lambda: "first") == secret(path, lambda: "second") == "first"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_free_port_is_none_that_is_taken_or_given_to_connections(monkeypatch):
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        assert port < 32768
        monkeypatch.setattr(child, "_PORTS", range(port, port + 1))
        monkeypatch.setattr(child, "_given_lately", deque())
        with pytest.raises(OSError, match="is free"):
            free_port()
    assert free_port() == port
    with pytest.raises(OSError, match="is free"):
        free_port()  # not twice, though nothing listens there yet
