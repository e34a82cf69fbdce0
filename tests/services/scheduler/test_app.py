"""The app as a whole: who may call what, its description, its health, its metrics."""

import re

import psycopg
import pytest
from sqlalchemy import text

from utils.service.contracts.jobs import Progress, Signal, TriggerRule

OPERATIONAL = {"/", "/healthz", "/readyz", "/metrics"}
HOLDERS = {
    "reader": {"reader", "submitter", "trainer", "admin"},
    "submitter": {"submitter", "admin"},
    "trainer": {"trainer", "admin"},
    "both": {"submitter", "trainer", "admin"},
}
# Which role each route asks for, as the documents promise it.
ROUTES = {
    ("POST", "/v1/jobs"): "submitter",
    ("GET", "/v1/jobs"): "reader",
    ("GET", "/v1/jobs/{job_id}"): "reader",
    ("POST", "/v1/jobs/{job_id}/cancel"): "submitter",
    ("GET", "/v1/jobs/{job_id}/events"): "reader",
    ("GET", "/v1/jobs/{job_id}/log"): "reader",
    ("POST", "/v1/jobs/{job_id}/log"): "trainer",
    ("POST", "/v1/claims"): "trainer",
    ("POST", "/v1/claims/{job_id}/start"): "trainer",
    ("POST", "/v1/claims/{job_id}/heartbeat"): "trainer",
    ("POST", "/v1/claims/{job_id}/finish"): "trainer",
    ("POST", "/v1/claims/{job_id}/release"): "trainer",
    ("GET", "/v1/queues"): "reader",
    ("GET", "/v1/queues/{queue}"): "reader",
    ("POST", "/v1/schedules"): "submitter",
    ("GET", "/v1/schedules"): "reader",
    ("GET", "/v1/schedules/{schedule_id}"): "reader",
    ("DELETE", "/v1/schedules/{schedule_id}"): "submitter",
    ("POST", "/v1/schedules/{schedule_id}/pause"): "submitter",
    ("POST", "/v1/schedules/{schedule_id}/resume"): "submitter",
    ("GET", "/v1/schedules/{schedule_id}/preview"): "reader",
    ("GET", "/v1/schedules/{schedule_id}/history"): "reader",
    ("GET", "/v1/triggers"): "reader",
    ("PUT", "/v1/triggers/{model}"): "submitter",
    ("GET", "/v1/triggers/{model}"): "reader",
    ("DELETE", "/v1/triggers/{model}"): "submitter",
    ("POST", "/v1/triggers/{model}/signals"): "both",
    ("GET", "/v1/triggers/{model}/explain"): "reader",
    ("POST", "/v1/alerts"): "submitter",
}
VALUES = {"model": "digits", "job_id": "1", "schedule_id": "1", "queue": "training"}


@pytest.fixture
def client(app, parts):
    yield app.test_client()
    parts.close()


def served(app):
    """Every route that the app answers, beside its health and its description."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule not in OPERATIONAL
        and not rule.rule.startswith(("/static", "/docs"))
        and not rule.rule.startswith("/openapi")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def path_of(route):
    for name, value in VALUES.items():
        route = route.replace(f"{{{name}}}", value)
    return route


def test_every_route_is_listed_and_described(app, client):
    assert served(app) == set(ROUTES)
    described = client.get("/docs/openapi.json").json
    assert described["openapi"].startswith("3.1")
    for (method, route), role in ROUTES.items():
        operation = described["paths"][route][method.lower()]
        assert operation["security"] == [{"bearer": []}], route
        assert operation["summary"], route
        assert operation["tags"], route
        assert {"401", "403", "429"} <= set(operation["responses"]), route
        success = [status for status in operation["responses"] if status.startswith("2")]
        assert success, (route, role)
    assert client.get("/docs/swagger").status_code == 200


def test_every_route_wants_a_token_of_its_role(client):
    for (method, route), needed in ROUTES.items():
        path = path_of(route)
        assert client.open(path, method=method).status_code == 401, route
        for holder in ("reader", "submitter", "trainer", "admin"):
            answer = client.open(
                path, method=method, headers={"Authorization": f"Bearer {holder}-token"}, json={}
            )
            is_refused = holder not in HOLDERS[needed]
            assert (answer.status_code == 403) is is_refused, (method, route, holder, answer.text)
            assert answer.status_code < 500, (method, route, holder, answer.text)


def test_unknown_fields_of_a_query_are_refused(client):
    answer = client.get("/v1/jobs?colour=red", headers={"Authorization": "Bearer reader-token"})
    assert answer.status_code == 422
    assert "colour" in answer.json["detail"]


def test_it_is_ready_while_the_database_answers_and_says_when_redis_does_not(client, app):
    assert client.get("/readyz").json == {
        "status": "ok",
        "checks": {"database": "ok", "redis": "ok"},
    }


def test_metrics_show_the_queue_as_the_table_has_it(web, config, parts):
    for _ in range(2):
        web.submitter.submit("training", config)
    held = web.trainer.claim("w", lease_seconds=1)
    with parts.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE job SET lease_expires_at = now() - interval '5 seconds'"
                " WHERE status = 'claimed'"
            )
        )
        connection.execute(text("UPDATE job SET run_after = now() - interval '60 seconds'"))
    rule = TriggerRule(job=config, windows=1, windows_to_fire=1)
    web.submitter.put_trigger("digits", rule)
    web.trainer.signal("digits", Signal(drift_score=0.5))
    shown = web.reader.call("GET", "/metrics").text
    assert 'training_jobs{job_type="training",status="pending"} 1.0' in shown
    assert 'training_jobs{job_type="training",status="claimed"} 1.0' in shown
    assert 'training_queue_ready{job_type="training"} 1.0' in shown
    assert 'training_leases_expired{job_type="training"} 1.0' in shown
    assert 'training_trigger_decisions_total{decision="in_flight",model_name="digits"} 1.0' in shown
    assert "training_database_up 1.0" in shown
    oldest = re.search(r'training_queue_oldest_seconds{job_type="training"} (\S+)', shown)
    assert 60 <= float(oldest[1]) < 120
    assert held.job_id


def test_metrics_show_what_running_trainings_told_last(web, config):
    for name in ("digits", "letters"):
        web.submitter.submit("training", config | {"model_name": name})
        job = web.trainer.claim("w")
        web.trainer.start(job.job_id, job.fencing_token)
        if name == "digits":
            progress = Progress(
                step=30,
                total_steps=120,
                loss=0.25,
                samples_per_second=640.0,
                gradient_norm=1.5,
                memory_mb=512,
                gpu_memory_mb=1024,
                gpu_utilization=0.75,
            )
            web.trainer.heartbeat(job.job_id, job.fencing_token, progress)
    shown = web.reader.call("GET", "/metrics").text
    for line in (
        'training_job_steps{model_name="digits"} 30.0',
        'training_job_steps{model_name="letters"} 0.0',
        'training_job_progress_ratio{model_name="digits"} 0.25',
        'training_job_loss{model_name="digits"} 0.25',
        'training_job_samples_per_second{model_name="digits"} 640.0',
        'training_job_gradient_norm{model_name="digits"} 1.5',
        'training_job_memory_bytes{device="cpu",model_name="digits"} 5.36870912e+08',
        'training_job_memory_bytes{device="gpu",model_name="digits"} 1.073741824e+09',
        'training_job_utilization_ratio{device="gpu",model_name="digits"} 0.75',
    ):
        assert line in shown
    assert 'training_job_loss{model_name="letters"}' not in shown
    assert "process_start_time_seconds" in shown
    free = re.search(r'training_disk_free_bytes{volume="logs"} (\S+)', shown)
    size = re.search(r'training_disk_size_bytes{volume="logs"} (\S+)', shown)
    assert 0 < float(free[1]) < float(size[1])


def test_metrics_stay_readable_while_the_database_is_away(settings, postgres, parts, serving, app):
    with serving(app) as web:
        name = settings.database_url.rpartition("/")[2].partition("?")[0]
        with parts.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        with psycopg.connect(postgres.url(), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            shown = web.reader.call("GET", "/metrics").text
            assert "training_database_up 0.0" in shown
            assert "training_jobs{" not in shown
            ready = app.test_client().get("/readyz")
            assert (ready.status_code, ready.json["status"]) == (503, "unready")
            admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        assert "training_database_up 1.0" in web.reader.call("GET", "/metrics").text
