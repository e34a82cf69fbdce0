"""The demonstration wipes its own state and nothing else, and finds what it left running."""

import os
import subprocess
import sys

import pytest

from services.cli.demo.folder import fresh_folder
from services.cli.demo.leftovers import left_behind, processes_in
from services.cli.demo.waiting import DemoError


def test_an_earlier_demonstration_is_wiped(tmp_path):
    folder = tmp_path / "demo"
    fresh_folder(folder)
    (folder / "models.db").touch()
    fresh_folder(folder)
    assert not (folder / "models.db").exists()


def test_an_empty_folder_is_taken(tmp_path):
    fresh_folder(tmp_path)
    fresh_folder(tmp_path)


def test_a_folder_with_somebody_s_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DemoError, match="holds files that no demonstration made"):
        fresh_folder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_process_that_works_in_the_folder_is_found_until_it_ends(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    before = processes_in(folder)
    command = [sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"]
    environment = os.environ | {"STATE": str(folder / "data")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert process.pid in {pid for pid, _ in processes_in(folder) - before}
        process.kill()
    assert not left_behind(folder, before)
