"""Build the peers' environment: `python -m benchmarks.peers`."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.peers import ENVIRONMENT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main() -> None:
    """Create the environment on top of this one, so that torch is the same and not loaded twice."""
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    python = ENVIRONMENT / "bin" / "python"
    own = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(own, "project.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--requirement", str(REQUIREMENTS)], check=True)
    print(f"The peers are in {ENVIRONMENT}; `python -m benchmarks step` shows them now.")


if __name__ == "__main__":
    sys.exit(main())
