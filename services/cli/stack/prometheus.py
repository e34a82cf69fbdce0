"""Prometheus beside the stack, with everything to scrape and the platform's own rules."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from services.cli.stack.errors import StackError
from services.cli.stack.members import Service, answers

_RULES = Path(__file__).parents[3] / "charts" / "training-engine" / "files" / "rules.yaml"
_INTERVAL = "5s"
_KEPT = "7d"


def prometheus(folder: Path, log: Path, url: str, targets: Mapping[str, list[str]]) -> Service:
    """Prometheus as one more service.

    Args:
        folder: where its configuration and data lie.
        log: where its output goes.
        url: where it is to answer.
        targets: addresses by the component's name, which becomes the label ``job``.

    Raises:
        StackError: a RuntimeError; it is not installed.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        raise StackError(
            "No program called prometheus is on the PATH; install it, or leave --prometheus away."
        )
    folder.mkdir(exist_ok=True)
    configuration = folder / "prometheus.yml"
    # JSON is YAML.
    configuration.write_text(json.dumps(_configuration(targets), indent=2) + "\n")
    command = [
        binary,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={_KEPT}",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]
    ready = partial(answers, f"{url}/-/ready")
    return Service(
        "prometheus", command, dict(os.environ), log, kind="prometheus", url=url, is_ready=ready
    )


def _configuration(targets: Mapping[str, list[str]]) -> dict[str, object]:
    return {
        "global": {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL},
        "rule_files": [str(_RULES)] if _RULES.exists() else [],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [url.removeprefix("http://") for url in urls]}],
            }
            for job, urls in targets.items()
        ],
    }
