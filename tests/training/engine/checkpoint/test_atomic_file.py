"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path

import pytest

from utils.training.engine.checkpoint import atomic_file as module
from utils.training.engine.checkpoint.atomic_file import atomic_file, remove_leftovers


def test_the_name_is_taken_only_at_the_end(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "data"
    path.write_bytes(b"old")

    def write():
        with atomic_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_living_writers_file_stays_and_a_dead_ones_goes(tmp_path, caplog):
    dead = tmp_path / ".data.0123abcd.partial"
    dead.write_bytes(b"half")
    foreign = tmp_path / ".other.0123abcd.partial"
    foreign.write_bytes(b"half")
    with caplog.at_level(logging.INFO), atomic_file(tmp_path / "data") as file:
        file.write(b"whole")
        remove_leftovers(tmp_path, "data*")
        assert not dead.exists()
        assert Path(file.name).exists()

    assert (tmp_path / "data").read_bytes() == b"whole"
    assert foreign.exists()
    assert "interrupted save" in caplog.text


def test_a_file_that_was_taken_for_a_leftover_before_its_lock_is_made_anew(tmp_path, monkeypatch):
    removed = []

    def lock_late(file, operation):
        if not removed:  # another process cleans up just now
            removed.append(Path(file.name))
            Path(file.name).unlink()

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with atomic_file(tmp_path / "data") as file:
        file.write(b"whole")

    assert removed
    assert (tmp_path / "data").read_bytes() == b"whole"


def test_a_file_system_without_locks_still_takes_files(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(95, "Operation not supported")

    leftover = tmp_path / ".data.0123abcd.partial"
    leftover.write_bytes(b"half")
    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with atomic_file(tmp_path / "data") as file:
        file.write(b"whole")
    remove_leftovers(tmp_path, "data")

    assert (tmp_path / "data").read_bytes() == b"whole"
    assert leftover.exists()  # it might be a living writer's
