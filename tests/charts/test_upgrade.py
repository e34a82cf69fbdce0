"""From every release that there was: its values are taken, its data and its secrets stay."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.charts.cluster import cluster_with
from tests.charts.helm import CASES, CHART, render, template, values_of
from tests.charts.release import Release
from tests.charts.releases import FOLDER, unchangeable

RELEASES = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture(params=[(version, case) for version in RELEASES for case in CASES], ids="-".join)
def former(request):
    """A former release's case: the options with all its values, and what may not change."""
    version, case = request.param
    folder = FOLDER / version
    options = ("--values", folder / "values.yaml", "--values", folder / f"{case}-values.yaml")
    return options, json.loads((folder / "unchangeable.json").read_text())[case]


@pytest.mark.parametrize("major", [3, 4])
def test_a_former_releases_values_are_taken_and_nothing_fixed_changes(former, major):
    options, fixed = former
    upgraded = unchangeable(render(*options, "--is-upgrade", major=major))
    for name, before in fixed.items():
        assert upgraded[name] == before, name


def test_the_release_at_hand_is_recorded():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert version in RELEASES, "run: python -m tests.charts.releases"


def test_secrets_stay_over_an_upgrade_and_a_new_pool_gets_a_token(release_of):
    before = release_of("kind").secret_contents
    with cluster_with(release_of("kind").of("Secret")) as url:
        same = _upgraded(url)
        grown = _upgraded(url, "--set", "trainers.pools.extra.queues={export}")
        shrunk = _upgraded(url, "--set", "trainers.pools.cpu=null,trainers.pools.one.replicas=1")
    assert same == before
    tokens = "loop-training-engine-tokens"
    new = grown[tokens].pop("trainer-extra")
    assert len(new) >= 40
    book = {entry["name"] for entry in json.loads(grown[tokens].pop("tokens.json"))}
    assert book == set(grown[tokens]) | {"trainer-extra"}
    assert grown[tokens].items() <= before[tokens].items()
    assert "trainer-cpu" not in shrunk[tokens]
    assert '"trainer-cpu"' not in shrunk[tokens]["tokens.json"]
    for store in ("postgresql", "redis"):
        name = f"loop-training-engine-{store}"
        assert grown[name] == shrunk[name] == before[name]


def test_secrets_are_not_those_of_another_installation(release_of):
    with cluster_with([]) as url:
        assert _upgraded(url) != release_of("kind").secret_contents


def _upgraded(url, *options):
    server = ("--dry-run=server", "--kube-apiserver", url, "--is-upgrade")
    done = template(*values_of("kind"), *server, *options, major=3)
    assert done.returncode == 0, done.stderr
    return Release([d for d in yaml.safe_load_all(done.stdout) if d]).secret_contents


def test_an_upgrade_brings_the_tables_first():
    job = Release(render("--is-upgrade")).workload("migration").document
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    first = Release(render()).workload("migration").document
    assert first["metadata"]["name"] != job["metadata"]["name"]


@pytest.mark.parametrize("options", [(), ("--is-upgrade",), values_of("external-stores")])
def test_the_migration_is_let_out_when_it_runs(options):
    """A hook runs before the release's policies are there, so it brings its own."""
    release = Release(render(*options))
    job = release.workload("migration").document
    (policy,) = [
        document
        for document in release.of("NetworkPolicy")
        if document["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")
        == "migration"
    ]
    notes, its_notes = (document["metadata"].get("annotations", {}) for document in (job, policy))
    assert policy["metadata"]["name"] == job["metadata"]["name"]
    assert its_notes.get("helm.sh/hook") == notes.get("helm.sh/hook")
    assert int(its_notes.get("helm.sh/hook-weight", 0)) <= int(notes.get("helm.sh/hook-weight", 0))


def test_data_and_its_passwords_outlive_an_uninstallation(release_of):
    release = release_of("kind")
    kept = [*release.of("PersistentVolumeClaim"), release.named("Secret", "-postgresql")]
    kept.append(release.named("Secret", "-redis"))
    for document in kept:
        assert document["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
