"""The way to a cluster: Skaffold's file, the scripts for kind, the images that all of them name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.charts.helm import CHART, ROOT, render
from tests.charts.release import Release

SKAFFOLD = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
SCHEMA = Path(__file__).parent / "schemas" / "skaffold-v4beta13.json"
SCRIPTS = sorted((ROOT / "charts" / "kind").glob("*.sh"))
SERVICES = {"registry", "scheduler", "serving", "monitor", "trainer"}


def test_skaffolds_file_fits_its_schema():
    """Against https://skaffold.dev/schemas/v4beta13.json, without its descriptions."""
    assert SKAFFOLD["apiVersion"] == "skaffold/v4beta13"
    jsonschema.validate(SKAFFOLD, json.loads(SCHEMA.read_text()))


def test_skaffold_builds_every_image_and_names_keys_that_the_chart_has():
    built = {artifact["image"] for artifact in SKAFFOLD["build"]["artifacts"]}
    assert built == {f"training-engine-{service}" for service in SERVICES}
    profiles = {profile["name"]: profile for profile in SKAFFOLD["profiles"]}
    assert set(profiles) == {"kind", "minikube", "gpu"}
    for part in (SKAFFOLD, profiles["gpu"]):
        (release,) = part["deploy"]["helm"]["releases"]
        assert (ROOT / release["chartPath"]).samefile(CHART)
        values = [f"--values={ROOT / path}" for path in release["valuesFiles"]]
        settings = [f"--set={key}=x" for key in release["setValueTemplates"]]
        images = _images(Release(render(*values, *settings)))
        assert {image for image in images if "library" not in image and "valkey" not in image} == {
            "registry.example.com/ml/x:x" if part is not SKAFFOLD else "x:x"
        }


def _images(release):
    return {c["image"] for w in release.workloads for c in w.containers}


def test_skaffold_forwards_ports_of_services_that_are_there():
    (release,) = SKAFFOLD["deploy"]["helm"]["releases"]
    rendered = render(release=release["name"])
    services = Release(rendered).names("Service")
    assert {forward["resourceName"] for forward in SKAFFOLD["portForward"]} <= services


def test_dockerfiles_and_their_targets_are_those_that_are_there():
    for artifact in SKAFFOLD["build"]["artifacts"]:
        text = (ROOT / artifact["docker"]["dockerfile"]).read_text()
        target = artifact["docker"].get("target", artifact["image"].rpartition("-")[2])
        assert f" AS {target}\n" in text
        assert f'ENTRYPOINT ["python", "-m", "services.{target}"]' in text
        assert "USER 10001:10001" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_clean_to_shellcheck(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--external-sources", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_script_without_its_tools_says_which_is_missing(tmp_path):
    for name in ("bash", "dirname", "sed"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    for script in ("up.sh", "demo.sh", "down.sh", "verify.sh"):
        done = subprocess.run(
            ["/bin/bash", ROOT / "charts" / "kind" / script],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "is not on the PATH" in done.stderr


def test_a_cluster_is_made_with_the_images_that_were_built_and_the_chart(tmp_path):
    for tool in ("docker", "kind", "kubectl", "helm"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >>"{tmp_path}/said"\n')
        (tmp_path / tool).chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", ROOT / "charts" / "kind" / "up.sh"],
        env={"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "said").read_text()
    built = re.findall(r"^docker build .*--tag (\S+)", said, re.MULTILINE)
    loaded = re.findall(r"^kind load docker-image (\S+)", said, re.MULTILINE)
    installed = re.findall(r"^(?:kind create|kubectl|helm) .*", said, re.MULTILINE)
    images = {image for image in _images(Release(render())) if image.startswith("training-engine-")}
    assert built == loaded
    assert set(built) == images
    assert [line.split()[0] for line in installed] == ["kind", "kubectl", "helm", "kubectl"]
    assert f"upgrade --install training {CHART} " in installed[2]


def test_the_cluster_of_kind_is_of_the_scripts_name():
    cluster = yaml.safe_load((ROOT / "charts" / "kind" / "cluster.yaml").read_text())
    assert cluster["kind"] == "Cluster"
    common = (ROOT / "charts" / "kind" / "common.sh").read_text()
    assert f"CLUSTER:-{cluster['name']}" in common
    assert "wait" in (ROOT / "charts" / "kind" / "up.sh").read_text()
