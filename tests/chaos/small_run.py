"""A job small enough for hundreds: it begins a run, and registers a model under its claim.

``python small_run.py ORDER.json`` stands in for the trainer's own process, whose imports alone
take seconds. It speaks to the real registry, and repeats what was not answered.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BUSY = (429, 502, 503, 504)


def post(order, path, body, key):
    """Call the registry until it answers; a refusal ends this process."""
    headers = {
        "Authorization": f"Bearer {Path(order['token_file']).read_text().strip()}",
        "Content-Type": "application/json",
        "Idempotency-Key": key,
    }
    url = order["registry_url"] + path
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code not in BUSY:
                sys.exit(f"{error.code}: {error.read().decode()}")
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("the registry did not come back")


def main(path):
    order = json.loads(path.read_text())
    job_id, config = order["job_id"], order["config"]
    fence = {"job_id": job_id, "fencing_token": order["fencing_token"]}
    run = {"name": f"job {job_id}", "config": {}, "fence": fence}
    run_id = post(order, "/v1/runs", run, f"job:{job_id}")["run_id"]
    model = {
        "name": config["model_name"],
        "bundle_digest": config["model"]["arguments"]["digest"],
        "task_type": "vision_classification",
        "training_run_id": run_id,
        "metadata": {"job_id": job_id},
        "fence": fence,
    }
    model_id = post(order, "/v1/models", model, f"model:{job_id}")["model_id"]
    outcome = {"outcome": "completed", "result": {"model_id": model_id}}
    (path.parent / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
