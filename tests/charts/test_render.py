"""Every case is clean to Helm 3 and Helm 4, and both make the same of it."""

from __future__ import annotations

import re
import tarfile

import pytest
import yaml

from tests.charts.helm import CASES, CHART, render, run, template, values_of
from utils.training import __version__


@pytest.mark.parametrize("major", [3, 4])
@pytest.mark.parametrize("case", CASES)
def test_a_case_passes_the_strict_linter(case, major):
    done = run("lint", "--strict", CHART, *values_of(case), major=major)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("case", CASES)
def test_helm_3_and_helm_4_make_the_same_objects(case, release_of):
    by_3 = render(*values_of(case), major=3)
    by_4 = release_of(case).documents
    assert [_without_chance(d) for d in by_3] == [_without_chance(d) for d in by_4]


def _without_chance(document):
    """Passwords and tokens are new each time where no cluster keeps them."""
    return document if document["kind"] != "Secret" else document | {"stringData": None}


def test_without_values_the_chart_is_complete(release_of):
    kinds = {document["kind"] for document in render()}
    assert kinds == {document["kind"] for document in release_of("kind").documents}


def test_every_template_makes_an_object_in_some_case(release_of):
    made = set()
    for case in CASES:
        made |= set(re.findall(r"# Source: (\S+)", template(*values_of(case)).stdout))
    files = {f"{CHART.name}/{path.relative_to(CHART)}" for path in CHART.glob("templates/*/*.yaml")}
    assert files == made


def test_the_package_has_what_templates_read_and_no_cases(tmp_path):
    assert run("package", CHART, "--destination", tmp_path).returncode == 0
    with tarfile.open(next(tmp_path.glob("training-engine-*.tgz"))) as package:
        names = {name.partition("/")[2] for name in package.getnames()}
    read = {"smoke/smoke.py", "files/rules.yaml", "files/alertmanager.yaml", "values.schema.json"}
    read |= {str(path.relative_to(CHART)) for path in CHART.glob("files/dashboards/*.json")}
    assert read <= names
    assert not any(name.startswith("ci/") for name in names)


def test_names_fit_whatever_the_release_is_called():
    long = "a-release-with-a-name-that-takes-all-the-room-there-is"
    documents = render("--set", f"fullnameOverride={long}", *values_of("gpu"))
    names = [document["metadata"]["name"] for document in documents]
    assert max(map(len, names)) <= 63
    assert len({(d["kind"], d["metadata"]["name"]) for d in documents}) == len(documents)


def test_the_chart_is_of_the_platforms_version():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


@pytest.mark.parametrize("case", CASES)
def test_the_notes_tell_what_to_do_next(case):
    done = run("install", "loop", CHART, "--dry-run=client", *values_of(case))
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "helm -n default test loop --logs" in notes
    assert ("WARNING" in notes) == (case == "minimal")
    assert ("https://predictions.example.com" in notes) == (case == "everything")
