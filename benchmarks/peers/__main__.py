"""Build environments of peers: `python -m benchmarks.peers` for all, or those named."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.peers import ENVIRONMENT, MLFLOW

HERE = Path(__file__).parent


def main() -> None:
    """Build what is named, else everything."""
    builders = {"engines": build_engines, "mlflow": build_mlflow}
    for name in sys.argv[1:] or builders:
        builders[name]()


def build_engines() -> None:
    """Create an environment on top of this one, so that torch is the same and not loaded twice."""
    python = create(ENVIRONMENT)
    own = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(own, "project.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install(python, HERE / "requirements.txt")
    print(f"The engines are in {ENVIRONMENT}; `python -m benchmarks step` shows them now.")


def build_mlflow() -> None:
    """Create an environment of its own: MLflow wants other versions than this project does."""
    install(create(MLFLOW), HERE / "mlflow.txt")
    print(f"MLflow is in {MLFLOW}; `python -m benchmarks registry_service` shows it now.")


def create(environment: Path) -> Path:
    """An empty environment's Python."""
    venv.create(environment, with_pip=True, clear=True)
    return environment / "bin" / "python"


def install(python: Path, requirements: Path) -> None:
    """Install what a file lists."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--requirement", str(requirements)], check=True)


if __name__ == "__main__":
    sys.exit(main())
