"""The whole demonstration, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.demo.leftovers import processes_in

ROOT = Path(__file__).parents[4]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", ["onnx", "torchserve"])
def test_the_loop_closes_by_itself_and_leaves_nothing_running(tmp_path, backend):
    folder = tmp_path / "a demo"
    command = [sys.executable, "-m", "services.cli.demo", "--backend", backend]
    told = subprocess.run(
        [*command, "--folder", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "All 10 claims were true." in told.stdout
    assert (folder / "demo.png").stat().st_size > 0
    assert not processes_in(folder)


def test_a_folder_that_is_not_its_own_ends_it_with_one_sentence(tmp_path):
    (tmp_path / "thesis.tex").touch()
    command = [sys.executable, "-m", "services.cli.demo", "--json", "--folder", tmp_path]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "holds files that no demonstration made" in told.stderr.replace("\n", " ")
    ending = json.loads(told.stdout)
    assert (ending["exit_code"], ending["events"]) == (1, [])
    assert [claim["holds"] for claim in ending["claims"]] == [False, True]
    assert (tmp_path / "thesis.tex").exists()
