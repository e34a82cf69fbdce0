"""The registry over HTTP: from an upload to a gated promotion and back."""

import hashlib
import os
import threading
from pathlib import Path

import httpx
import pytest

from tests.waiting import wait_until
from utils.service.contracts.models import (
    CheckpointUpload,
    Evaluation,
    Fence,
    MetricValue,
    ModelRegistration,
    PromotionRequest,
    RunCreation,
)
from utils.service.http import RemoteError
from utils.training.job_queue import JobManager

HELD_OUT = "0" * 64


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "bundle.tar"
    path.write_bytes(os.urandom(3_000_000))
    return path


def register(client, bundle, name="digits", **values):
    digest = client.upload(bundle)
    return client.register(
        ModelRegistration(
            name=name, bundle_digest=digest, task_type="vision_classification", **values
        )
    )


def scores(right, count=200):
    return [1.0] * right + [0.0] * (count - right)


def evaluate(client, model_id, right, champion=None, champion_right=None, **values):
    facts = {"greatest_difference": 1e-6, "tolerance": 1e-4, "latency_ms": 1.0} | values
    return client.evaluate(
        model_id,
        Evaluation(
            held_out_digest=HELD_OUT,
            challenger_scores=scores(right),
            champion_model_id=champion,
            champion_scores=None if champion is None else scores(champion_right),
            **facts,
        ),
    )


def refused(status, call, *arguments, **values):
    with pytest.raises(RemoteError) as caught:
        call(*arguments, **values)
    assert caught.value.status == status, str(caught.value)
    return str(caught.value)


def test_an_artifact_goes_up_and_comes_down_the_same(callers, bundle, tmp_path):
    digest = callers["trainer"].upload(bundle)
    assert digest == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert callers["trainer"].upload(bundle) == digest
    copy = callers["reader"].download(digest, tmp_path / "copy.tar")
    assert copy.read_bytes() == bundle.read_bytes()


def test_a_broken_upload_and_a_broken_download_go_on_where_they_stopped(
    served, callers, bundle, tmp_path
):
    content = bundle.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    headers = {
        "Authorization": "Bearer trainer-token",
        "Upload-Offset": "0",
        "Upload-Length": str(len(content)),
    }
    part = httpx.put(f"{served}/v1/artifacts/{digest}", content=content[:1000], headers=headers)
    assert (part.status_code, part.headers["Upload-Offset"]) == (202, "1000")
    wrong = httpx.put(f"{served}/v1/artifacts/{digest}", content=b"x", headers=headers)
    assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (409, "1000")
    assert callers["trainer"].upload(bundle) == digest
    (tmp_path / ".copy.tar.partial").write_bytes(content[:2_000_000])
    copy = callers["reader"].download(digest, tmp_path / "copy.tar")
    assert copy.read_bytes() == content


def test_transfers_leave_threads_for_everything_else(served, callers, bundle, tmp_path):
    """Of eight threads, four uploads that have stopped half-way take four."""
    going_on = threading.Event()
    headers = {
        "Authorization": "Bearer trainer-token",
        "Upload-Offset": "0",
        "Upload-Length": "100",
    }

    def put(number, content):
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        url = f"{served}/v1/artifacts/{digest}"
        return httpx.put(url, content=content, headers=headers, timeout=60)

    def half():
        yield b"half"
        going_on.wait(30)

    answers = []
    uploads = [
        threading.Thread(target=lambda n=n: answers.append(put(n, half()).status_code))
        for n in range(4)
    ]
    for thread in uploads:
        thread.start()
    wait_until(lambda: len(list(tmp_path.glob("staging/*.part"))) == 4)
    refusal = put(4, b"part")
    assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "2")
    assert refusal.json()["detail"].startswith("Too many artifacts are on their way")
    assert httpx.get(f"{served}/healthz", timeout=20).status_code == 200
    assert not callers["reader"].list_models().items
    timer = threading.Timer(0.5, going_on.set)
    timer.start()
    digest = callers["trainer"].upload(bundle)  # it waits for its turn
    for thread in (*uploads, timer):
        thread.join()
    assert answers == [202] * 4
    assert callers["reader"].download(digest, tmp_path / "copy.tar").stat().st_size > 0


def test_other_bytes_than_announced_are_refused(served):
    digest = hashlib.sha256(b"right").hexdigest()
    headers = {
        "Authorization": "Bearer trainer-token",
        "Upload-Offset": "0",
        "Upload-Length": "5",
    }
    answer = httpx.put(f"{served}/v1/artifacts/{digest}", content=b"wrong", headers=headers)
    assert answer.status_code == 422
    assert "send them again" in answer.json()["detail"]


def test_a_model_is_registered_once_a_run_under_the_next_version(callers, bundle):
    trainer = callers["trainer"]
    run = trainer.begin_run(RunCreation(name="digits", config={"lr": 0.1}), "job:1")
    assert trainer.begin_run(RunCreation(name="digits", config={"lr": 0.1}), "job:1") == run
    first = register(trainer, bundle, training_run_id=run.run_id, metrics={"val_loss": 0.1})
    again = register(trainer, bundle, training_run_id=run.run_id, metrics={"val_loss": 0.1})
    second = register(trainer, bundle, parent_model_id=first.model_id)
    assert (first.version, again.model_id, second.version) == ("1", first.model_id, "2")
    assert first.metrics == {"val_loss": 0.1}
    reader = callers["reader"]
    assert [m.version for m in reader.list_models(name="digits").items] == ["2", "1"]
    lineage = reader.lineage(second.model_id)
    assert [m.model_id for m in lineage.parents] == [first.model_id]
    assert [row["version"] for row in reader.compare_models([1, 2])] == ["1", "2"]


def test_versions_taken_at_once_are_all_different(callers, bundle):
    trainer = callers["trainer"]
    trainer.upload(bundle)
    versions = []
    threads = [
        threading.Thread(target=lambda: versions.append(register(trainer, bundle).version))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions, key=int) == ["1", "2", "3", "4", "5", "6"]


def test_a_model_without_its_bundle_in_the_store_is_refused(callers):
    registration = ModelRegistration(name="digits", bundle_digest="a" * 64, task_type="t")
    assert "upload it first" in refused(404, callers["trainer"].register, registration)


def test_production_is_behind_the_gate(callers, bundle):
    trainer, submitter, reader = callers["trainer"], callers["submitter"], callers["reader"]
    first = register(trainer, bundle)
    message = refused(409, submitter.promote, first.model_id, PromotionRequest())
    assert "has not been evaluated" in message
    assert evaluate(trainer, first.model_id, 150).passed
    submitter.promote(first.model_id, PromotionRequest(reason="first"))
    assert reader.tagged("digits").model_id == first.model_id

    worse = register(trainer, bundle)
    verdict = evaluate(trainer, worse.model_id, 140, first.model_id, 150)
    assert not verdict.passed
    assert "did not pass" in refused(409, submitter.promote, worse.model_id, PromotionRequest())

    better = register(trainer, bundle)
    assert evaluate(trainer, better.model_id, 190, first.model_id, 150).passed
    assert reader.verdict(better.model_id).difference == pytest.approx(0.2)
    submitter.promote(better.model_id, PromotionRequest())
    assert reader.tagged("digits").model_id == better.model_id
    assert reader.get_model(first.model_id).tag == "retired"

    submitter.rollback("digits", "it misreads sevens")
    assert reader.tagged("digits").model_id == first.model_id
    audit = reader.history("digits")
    assert [row.kind for row in audit] == ["rollback", "promote", "promote"]
    assert audit[0].actor == "submitter"


def test_a_rollback_whose_reply_was_lost_goes_one_step_back_and_no_further(callers, bundle, served):
    admin = callers["admin"]
    models = [register(callers["trainer"], bundle) for _ in range(3)]
    for model in models:
        admin.promote(model.model_id, PromotionRequest(force=True, reason="a test"))
    body = {"reason": "it misreads sevens", "expected_current": models[2].model_id}
    headers = {"Authorization": "Bearer admin-token"}
    url = f"{served}/v1/names/digits/rollback"
    answers = [httpx.post(url, json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert admin.tagged("digits").model_id == models[1].model_id
    other = httpx.post(url, json=body | {"reason": "another"}, headers=headers)
    assert other.status_code == 409
    assert admin.rollback("digits", "further").model_id == models[0].model_id


def test_a_verdict_against_another_champion_than_the_present_one_opens_no_gate(callers, bundle):
    trainer, submitter = callers["trainer"], callers["submitter"]
    one, two, three = (register(trainer, bundle) for _ in range(3))
    for model in (one, two):
        assert evaluate(trainer, model.model_id, 150).passed
    submitter.promote(one.model_id, PromotionRequest())
    refused(409, submitter.promote, two.model_id, PromotionRequest())
    message = refused(409, evaluate, trainer, three.model_id, 190)
    assert "evaluate again" in message


def test_only_an_admin_forces_a_promotion_and_gives_a_reason(callers, bundle):
    model = register(callers["trainer"], bundle)
    forced = PromotionRequest(force=True, reason="the gate's data is wrong")
    refused(403, callers["submitter"].promote, model.model_id, forced)
    refused(403, callers["reader"].promote, model.model_id, forced)
    refused(422, callers["admin"].promote, model.model_id, PromotionRequest(force=True))
    promotion = callers["admin"].promote(model.model_id, forced)
    assert promotion.reason == "forced: the gate's data is wrong"


def test_a_bundle_whose_bytes_changed_is_not_promoted(callers, bundle, tmp_path):
    model = register(callers["trainer"], bundle)
    assert evaluate(callers["trainer"], model.model_id, 150).passed
    (stored,) = [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    message = refused(409, callers["submitter"].promote, model.model_id, PromotionRequest())
    assert "not what was registered" in message


@pytest.fixture
def claim(postgres_url):
    jobs = JobManager(postgres_url)
    jobs.submit_job("training", {})
    return jobs, jobs.claim_job("worker-1")


def test_a_worker_that_lost_its_claim_writes_nothing(callers, bundle, claim):
    jobs, job = claim
    trainer = callers["trainer"]
    held = Fence(job_id=job.job_id, fencing_token=job.fencing_token)
    run = trainer.begin_run(RunCreation(name="digits", fence=held), "job:1")
    model = register(trainer, bundle, fence=held)
    assert evaluate(trainer, model.model_id, 150, fence=held).passed
    jobs.release(job.job_id, job.fencing_token, "the worker stops")
    point = [MetricValue(name="train/loss", value=1.0, step=1)]
    refused(409, trainer.log_metrics, run.run_id, point, held)
    refused(409, trainer.end_run, run.run_id, "completed", held)
    refused(409, register, trainer, bundle, fence=held)
    refused(409, evaluate, trainer, model.model_id, 150, fence=held)
    refused(409, trainer.promote, model.model_id, PromotionRequest(fence=held))
    refused(403, trainer.promote, model.model_id, PromotionRequest())
    checkpoint = CheckpointUpload(
        digest=trainer.upload(bundle), file_name="checkpoint_epoch0001.pt", step=5, fence=held
    )
    refused(409, trainer.save_checkpoint, job.job_id, checkpoint)
    assert trainer.newest_checkpoint(job.job_id) is None


def test_the_newest_checkpoint_of_a_job_is_where_the_next_attempt_goes_on(callers, bundle, claim):
    _, job = claim
    trainer = callers["trainer"]
    fence = Fence(job_id=job.job_id, fencing_token=job.fencing_token)
    digest = trainer.upload(bundle)
    trainer.save_checkpoint(
        job.job_id,
        CheckpointUpload(digest=digest, file_name="checkpoint_epoch0001.pt", step=5, fence=fence),
    )
    assert trainer.newest_checkpoint(job.job_id).digest == digest


def test_a_run_is_measured_in_batches_and_compared(callers):
    trainer, reader = callers["trainer"], callers["reader"]
    ids = []
    for learning_rate in (0.1, 0.01):
        run = trainer.begin_run(
            RunCreation(name="digits", config={"lr": learning_rate}), f"run-{learning_rate}"
        )
        points = [MetricValue(name="val/loss", value=learning_rate, step=s) for s in range(3)]
        trainer.log_metrics(run.run_id, points)
        trainer.log_metrics(run.run_id, points)
        trainer.end_run(run.run_id, "completed")
        ids.append(run.run_id)
    assert len(reader.metric_points(ids[0]).items) == 3
    assert reader.get_run(ids[0]).status == "completed"
    assert [row["val/loss"] for row in reader.compare_runs(ids)] == [0.1, 0.01]
    assert {run.run_id for run in reader.list_runs(name="digits").items} == set(ids)


def test_every_route_asks_for_a_token_and_the_right_role(served):
    document = httpx.get(f"{served}/docs/openapi.json").json()
    seen = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["security"] == [{"bearer": []}], path
            concrete = path.replace("{digest}", "a" * 64).replace("{name}", "digits")
            concrete = concrete.replace("{model_id}", "1").replace("{run_id}", "1")
            concrete = concrete.replace("{job_id}", "1")
            bare = httpx.request(method, served + concrete)
            assert bare.status_code == 401, path
            if method in ("post", "put"):
                reader = {"Authorization": "Bearer reader-token"}
                assert httpx.request(method, served + concrete, headers=reader).status_code == 403
            seen += 1
    assert seen >= 20


def test_the_process_ends_cleanly_and_logs_json(served, tmp_path):
    log = (Path(tmp_path) / "registry.log").read_text()
    assert '"service": "registry"' in log
    assert "Traceback" not in log
