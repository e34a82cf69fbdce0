"""From a number that Prometheus scrapes to the job that it leads to, over real servers."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.monitoring.servers import Alertmanager, Prometheus, program
from tests.waiting import wait_until
from utils.service.contracts.jobs import TriggerRule

FILES = Path(__file__).parents[2] / "charts/training-engine/files"
LABELS = '{model_name="digits",model_version="1"}'
METRICS = f"""
drift_score_bits{LABELS} 0.41
drift_status{LABELS} 2
serving_loaded{LABELS} 1
"""


def test_alertmanager_takes_its_configuration():
    done = subprocess.run(
        [program("amtool"), "check-config", FILES / "alertmanager.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("trigger=drift severity=critical", "scheduler,critical"),
        ("trigger=performance severity=warning", "scheduler,warning"),
        ("severity=critical", "critical"),
        ("severity=warning", "warning"),
    ],
)
def test_each_alert_reaches_its_receivers(labels, receivers):
    words = ["config", "routes", "test", f"--config.file={FILES / 'alertmanager.yaml'}"]
    done = subprocess.run(
        [program("amtool"), *words, *labels.split()], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == receivers


@pytest.fixture
def exporter():
    """What serving and the monitor would show of a model that has drifted."""

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_):
            """Say nothing of each scrape."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def alertmanager(tmp_path, scheduler):
    """The configuration that is shipped, at this scheduler's address, in a hurry."""
    configuration = yaml.safe_load((FILES / "alertmanager.yaml").read_text())
    (receiver,) = [r for r in configuration["receivers"] if r["name"] == "scheduler"]
    (webhook,) = receiver["webhook_configs"]
    assert webhook["url"].endswith("/v1/alerts")
    webhook["url"] = f"{scheduler.url}/v1/alerts"
    webhook["http_config"]["authorization"]["credentials_file"] = str(scheduler.token_file)
    route = configuration["route"]["routes"][0]
    route |= {"group_wait": "1s", "group_interval": "1s", "repeat_interval": "1s"}
    with Alertmanager(tmp_path / "alertmanager", configuration) as server:
        yield server


@pytest.fixture
def hasty_rules(tmp_path):
    """The rules that are shipped; alerts fire at once."""
    rules = yaml.safe_load((FILES / "rules.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


def test_a_model_that_drifted_is_trained_again_once(
    tmp_path, scheduler, exporter, alertmanager, hasty_rules
):
    job = {
        "model_name": "digits",
        "model": {"entry_point": "models:digits"},
        "data": [{"kind": "sample", "location": "digits"}],
    }
    client = scheduler.client
    client.put_trigger("digits", TriggerRule(job=job))
    with Prometheus(
        tmp_path / "prometheus",
        {"monitor": [exporter]},
        rules=[hasty_rules],
        alertmanager=alertmanager,
    ):
        (found,) = wait_until(
            lambda: client.list_jobs(model_name="digits").items, told=alertmanager.log
        )
        assert "0.41 bits" in found.reason

        def notifications():
            shown = client.call("GET", "/metrics").text
            prefix = 'http_requests_total{method="POST",route="/v1/alerts",status="200"} '
            lines = [line for line in shown.splitlines() if line.startswith(prefix)]
            return lines and float(lines[0].removeprefix(prefix)) >= 3

        wait_until(notifications, told=alertmanager.log)
    assert len(client.list_jobs(model_name="digits").items) == 1
    (firing,) = client.explain_trigger("digits").firings
    assert firing.job_id == str(found.job_id)
