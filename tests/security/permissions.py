"""Who may call what: every route of every service with the role that it asks for.

A route that is not here fails the tests until somebody has thought about who may call it.
"""

from __future__ import annotations

# Every service has these, and they ask for no token.
PUBLIC_EVERYWHERE = frozenset(
    {
        "GET /",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /docs",
        "GET /docs/openapi.json",
        "GET /docs/swagger",
    }
)

HOLDERS = {
    "reader": {"reader", "submitter", "trainer", "admin"},
    "submitter": {"submitter", "admin"},
    "trainer": {"trainer", "admin"},
    "trainer or submitter": {"trainer", "submitter", "admin"},
    "admin": {"admin"},
    "public": set(),
}

PERMISSIONS = {
    "registry": {
        "GET /v1/artifacts/{digest}": "reader",
        "PUT /v1/artifacts/{digest}": "trainer",
        "GET /v1/artifacts/{digest}/verification": "admin",
        "GET /v1/jobs/{job_id}/checkpoint": "reader",
        "PUT /v1/jobs/{job_id}/checkpoint": "trainer",
        "GET /v1/jobs/{job_id}/checkpoints": "reader",
        "GET /v1/models": "reader",
        "POST /v1/models": "trainer",
        "GET /v1/models/compare": "reader",
        "GET /v1/models/tagged": "reader",
        "GET /v1/models/{model_id}": "reader",
        "POST /v1/models/{model_id}/evaluations": "trainer",
        "GET /v1/models/{model_id}/lineage": "reader",
        "POST /v1/models/{model_id}/promote": "trainer or submitter",
        "GET /v1/models/{model_id}/reference-profile": "reader",
        "GET /v1/models/{model_id}/verdict": "reader",
        "GET /v1/names/{name}/history": "reader",
        "POST /v1/names/{name}/rollback": "submitter",
        "GET /v1/runs": "reader",
        "POST /v1/runs": "trainer",
        "GET /v1/runs/compare": "reader",
        "GET /v1/runs/{run_id}": "reader",
        "GET /v1/runs/{run_id}/metrics": "reader",
        "POST /v1/runs/{run_id}/metrics": "trainer",
        "POST /v1/runs/{run_id}/status": "trainer",
    },
    "scheduler": {
        "POST /v1/alerts": "submitter",
        "POST /v1/claims": "trainer",
        "POST /v1/claims/{job_id}/finish": "trainer",
        "POST /v1/claims/{job_id}/heartbeat": "trainer",
        "POST /v1/claims/{job_id}/release": "trainer",
        "POST /v1/claims/{job_id}/start": "trainer",
        "GET /v1/jobs": "reader",
        "POST /v1/jobs": "submitter",
        "GET /v1/jobs/{job_id}": "reader",
        "POST /v1/jobs/{job_id}/cancel": "submitter",
        "GET /v1/jobs/{job_id}/events": "reader",
        "GET /v1/jobs/{job_id}/log": "reader",
        "POST /v1/jobs/{job_id}/log": "trainer",
        "GET /v1/queues": "reader",
        "GET /v1/queues/{queue}": "reader",
        "GET /v1/schedules": "reader",
        "POST /v1/schedules": "submitter",
        "DELETE /v1/schedules/{schedule_id}": "submitter",
        "GET /v1/schedules/{schedule_id}": "reader",
        "GET /v1/schedules/{schedule_id}/history": "reader",
        "POST /v1/schedules/{schedule_id}/pause": "submitter",
        "GET /v1/schedules/{schedule_id}/preview": "reader",
        "POST /v1/schedules/{schedule_id}/resume": "submitter",
        "GET /v1/triggers": "reader",
        "DELETE /v1/triggers/{model}": "submitter",
        "GET /v1/triggers/{model}": "reader",
        "PUT /v1/triggers/{model}": "submitter",
        "GET /v1/triggers/{model}/explain": "reader",
        "POST /v1/triggers/{model}/signals": "trainer or submitter",
    },
    "serving": {
        "GET /v1/models": "reader",
        "POST /v1/models/{name}/predict": "reader",
        "GET /v2": "reader",
        "GET /v2/health/live": "public",
        "GET /v2/health/ready": "public",
        "GET /v2/models/{name}": "reader",
        "POST /v2/models/{name}/infer": "reader",
        "GET /v2/models/{name}/ready": "reader",
        "GET /v2/models/{name}/versions/{version}": "reader",
        "POST /v2/models/{name}/versions/{version}/infer": "reader",
        "GET /v2/models/{name}/versions/{version}/ready": "reader",
    },
    "monitor": {
        "GET /v1/alerts": "reader",
        "GET /v1/drift": "reader",
        "GET /v1/drift/{model_name}": "reader",
        "POST /v1/feedback/{model_name}": "submitter",
        "GET /v1/platform": "reader",
    },
}
