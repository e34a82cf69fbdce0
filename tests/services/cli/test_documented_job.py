"""What docs/jobs.md shows works: a job with data and a model of one's own, in an empty folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.services.cli.conftest import call, start_trainctl
from tests.waiting import wait_until

DOCUMENT = Path(__file__).parents[3] / "docs" / "jobs.md"
BLOCK = re.compile(r"```(python|yaml)\n(.*?)```", re.DOTALL)


def _blocks(kind):
    return [text for found, text in BLOCK.findall(DOCUMENT.read_text()) if found == kind]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A folder where somebody did what the document says, and the job's end."""
    here = tmp_path_factory.mktemp("followed")
    model, data = _blocks("python")
    job, evaluation, export = _blocks("yaml")
    (here / "tumours.py").write_text(model)
    (here / "job.yaml").write_text(job)
    (here / "evaluation.yaml").write_text(evaluation)
    (here / "export.yaml").write_text(export)
    subprocess.run([sys.executable, "-c", data], cwd=here, check=True)
    folder = here / "var" / "stack"
    words = ("up", "--detach", "--entry-point", "tumours:build_model")
    done = start_trainctl(*words, folder=folder, cwd=here)
    assert done.returncode == 0, done.stderr

    def run(*words, code=0):
        result = call(*words, folder=folder)
        assert result.code == code, (result.out, result.err)
        return result

    job = run("submit", here / "job.yaml", "--wait", "--json").json()
    yield SimpleNamespace(folder=folder, here=here, run=run, job=job)
    run("down")


def test_the_job_trains_passes_the_gate_and_is_promoted(followed):
    assert followed.job["status"] == "completed"
    assert followed.job["result"]["promoted"]
    assert followed.job["result"]["metrics"]["held_out_accuracy"] > 0.9


def test_the_served_version_takes_rows_by_the_names_of_the_tables_columns(followed):
    lines = (followed.folder / "data" / "tumours" / "test.csv").read_text().splitlines()
    names, row = lines[0].split(","), lines[1].split(",")
    numbers = {n: float(v) for n, v in zip(names, row, strict=True) if n != "diagnosis"}
    file = followed.here / "instances.json"
    file.write_text(json.dumps([numbers, list(numbers.values())]))
    words = ("predict", "tumours", file, "--json")
    wait_until(lambda: call(*words, folder=followed.folder).code == 0)
    by_name, by_place = followed.run(*words).json()["predictions"]
    assert by_name == by_place
    assert by_name["label"] in ("malignant", "benign")


def test_the_same_file_is_a_schedules_and_a_triggers_job(followed):
    words = ("schedules", "create", "weekly", "0 3 * * 1", followed.here / "job.yaml", "--json")
    made = followed.run(*words).json()
    assert made["config"] == followed.job["config"]
    words = ("triggers", "set", "tumours", followed.here / "job.yaml", "--json")
    assert followed.run(*words).json()["rule"]["job"] == followed.job["config"]


def test_the_other_kinds_of_jobs_work_too(followed):
    done = {
        kind: followed.run("submit", followed.here / f"{kind}.yaml", "--wait", "--json").json()
        for kind in ("evaluation", "export")
    }
    for kind, job in done.items():
        assert (job["job_type"], job["status"]) == (kind, "completed")
    assert "verdict" in done["evaluation"]["result"]
    assert done["export"]["result"]["formats"] == ["onnx", "pytorch", "torchscript"]


def test_a_function_that_is_not_listed_is_refused_with_what_to_do(followed):
    file = followed.here / "other.yaml"
    file.write_text((followed.here / "job.yaml").read_text().replace(":build_model", ":other"))
    failed = followed.run("submit", file, "--wait", code=4).out
    assert "'tumours:other' is not on this trainer's list" in failed
    assert "trainctl up --entry-point" in failed
