"""Every service against what Schemathesis makes of its own OpenAPI document: no 5xx."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis import GenerationMode

from tests.security.platform import SERVICES, job_config
from utils.service.contracts.jobs import ScheduleRequest, TriggerRule
from utils.service.contracts.models import ModelRegistration, RunCreation

EXAMPLES = int(os.environ.get("SECURITY_EXAMPLES", "6"))  # of each route and kind
STREAM = "text/event-stream"
UNSENDABLE = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidURL,
    UnicodeEncodeError,
)


@pytest.fixture(scope="module")
def existing(served):
    """One of each thing, that may be harmed: the values of routes' places, by their names."""
    trainer = served.registry["trainer"]
    digest = served.put_artifact(b"no bundle at all")
    model = trainer.register(
        ModelRegistration(name="harmed", bundle_digest=digest, task_type="vision_classification")
    )
    run = trainer.begin_run(RunCreation(name="harmed"), "harmed")
    scheduler = served.scheduler["submitter"]
    job = scheduler.submit(
        "training", job_config(), run_after=datetime.now(UTC) + timedelta(days=900)
    )
    schedule = scheduler.create_schedule(
        ScheduleRequest(
            name="harmed", job_type="training", config=job_config(), schedule_expr="0 0 29 2 *"
        )
    )
    rule = TriggerRule.model_validate({"job": job_config(model_name="harmed"), "enabled": False})
    scheduler.put_trigger("harmed", rule)
    return {
        "digest": digest,
        "model_id": model.model_id,
        "run_id": run.run_id,
        "job_id": job.job_id,
        "schedule_id": schedule.schedule_id,
        "version": "1",
        "model": "harmed",
        "model_name": "harmed",
    }


class Attack:
    """Sends what Schemathesis makes up, and counts the answers."""

    def __init__(self, platform, service):
        self.platform = platform
        self.url = platform.urls[service]
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers = {"Authorization": f"Bearer {platform.tokens['admin']}"}
        self.statuses = Counter()

    def send(self, case):
        """Send one request, and see what comes back."""
        request = case.as_transport_kwargs(base_url=self.url, headers=self.headers)
        request["headers"]["Authorization"] = self.headers["Authorization"]
        try:
            response = self.session.request(**request, stream=True, timeout=30)
        except UNSENDABLE:
            hypothesis.reject()
        with closing(response):
            is_stream = response.headers.get("Content-Type", "").startswith(STREAM)
            text = "" if is_stream else response.text
        said = f"{request['method']} {request['url']}: {response.status_code} {text[:300]}"
        sent = {name: request.get(name) for name in ("params", "json", "data")}
        assert response.status_code < 500, f"{said}\n{str(sent)[:2000]}"
        self.platform.check_silence(f"{response.headers}\n{text}", said)
        self.statuses[f"{response.status_code // 100}xx"] += 1

    def try_all(self, strategy):
        """Send so many examples of a strategy."""

        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=EXAMPLES < 50,
            suppress_health_check=list(HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(strategy)
        def attack(case):
            self.send(case)

        attack()


@pytest.mark.filterwarnings("ignore")  # Schemathesis's own
@pytest.mark.parametrize("service", SERVICES)
def test_no_request_makes_a_service_fail(service, served, existing, tried):
    attack = Attack(served, service)
    schema = schemathesis.openapi.from_dict(served.document(service))
    known = existing | {"name": "digits" if service == "serving" else "harmed"}
    routes, failures = 0, []
    for found in schema.get_all_operations():
        operation = found.ok()
        routes += 1
        places = {p.name: known[p.name] for p in operation.path_parameters if p.name in known}
        try:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if places:
                    attack.try_all(
                        operation.as_strategy(generation_mode=mode, path_parameters=places)
                    )
                attack.try_all(operation.as_strategy(generation_mode=mode))
        except hypothesis.errors.Unsatisfiable:
            continue
        except AssertionError as error:
            failures.append(str(error))
    attack.session.close()
    assert not failures, "\n\n".join(failures)
    assert served.send(service, "GET", "/healthz", None).status_code == 200
    tried("schemathesis", f"{service}: routes", routes)
    for status, number in attack.statuses.items():
        tried("schemathesis", f"{service}: answered {status}", number)
