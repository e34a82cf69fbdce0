"""Jobs from their submission to a promoted model, over real servers and a real worker."""

from __future__ import annotations

import json

import pytest

from services.trainer.samples import load_sample
from utils.service.http import RemoteError


def test_a_job_becomes_a_registered_gated_and_promoted_model(platform, undisturbed):
    done = undisturbed.job
    assert undisturbed.running.progress["total_steps"] == 40 * 2
    assert done.status == "completed", (done.error, platform.log(done))
    assert done.result["promoted"]
    assert done.result["verdict"]["passed"]
    champion = platform.registry.tagged("undisturbed")
    assert champion.model_id == done.result["model_id"]
    assert champion.version == "1"
    assert champion.metrics["held_out_accuracy"] > 0.85
    run = platform.registry.get_run(done.result["run_id"])
    assert run.status == "completed"
    names = {p.name for p in platform.registry.metric_points(run.run_id, limit=200).items}
    assert {"train/loss", "train_loss", "val_loss", "val_accuracy"} <= names
    assert {"train/gradient_norm", "train/learning_rate"} <= names
    told = undisturbed.running.progress
    assert told["gradient_norm"] > 0
    assert told["learning_rate"] > 0
    assert told["memory_mb"] > 1
    assert told["cpu_utilization"] > 0
    profile = platform.registry.reference_profile(champion.model_id)
    assert {"brightness", "prediction.class", "label"} <= set(profile["features"])
    assert "Uploaded checkpoint_epoch" in platform.log(done)


def test_a_better_version_on_more_data_replaces_the_champion(platform, trainer, make_job, tmp_path):
    former = platform.end_of(
        platform.scheduler.submit("training", make_job("better", training_config={"max_steps": 3}))
    )
    extra = tmp_path / "scans.jsonl"
    scans = load_sample("digits").validation
    rows = [
        {"pixel_values": scans[n]["pixel_values"].tolist(), "labels": int(scans[n]["labels"])}
        for n in range(60)
    ]
    extra.write_text("".join(json.dumps(row) + "\n" for row in rows))
    digest = platform.registry.upload(extra)
    more = {"kind": "jsonl", "location": f"artifact:{digest}"}
    job = make_job("better", epochs=2)
    job["data"] += [more]
    done = platform.end_of(platform.scheduler.submit("training", job))
    assert done.status == "completed", (done.error, platform.log(done))
    assert done.result["version"] == "2"
    assert done.result["promoted"]
    assert done.result["verdict"]["difference"] > 0
    model = platform.registry.get_model(done.result["model_id"])
    assert model.parent_model_id == former.result["model_id"]

    again = platform.scheduler.submit(
        "evaluation",
        {
            "model_name": "better",
            "model_id": former.result["model_id"],
            "held_out": job["held_out"],
        },
    )
    judged = platform.end_of(again)
    assert judged.status == "completed", judged.error
    assert not judged.result["verdict"]["passed"]
    assert not judged.result["promoted"]
    assert platform.registry.tagged("better").model_id == done.result["model_id"]


def test_what_can_never_work_fails_at_once_with_its_reason(platform, trainer, make_job):
    jobs = {
        "is not on this trainer's list": make_job(model={"entry_point": "os:getcwd"}),
        "leads out of the data folder": make_job(
            task_spec={"name": "x"}, data=[{"kind": "csv", "location": "../trainer"}]
        ),
    }
    submitted = {reason: platform.scheduler.submit("training", job) for reason, job in jobs.items()}
    for reason, job in submitted.items():
        done = platform.end_of(job)
        assert done.status == "failed"
        assert done.attempt == 1
        assert reason in done.error


def test_a_misspelt_field_is_refused_at_the_door(platform, make_job):
    with pytest.raises(RemoteError, match="Did you mean: epochs"):
        platform.scheduler.submit("training", make_job(training_config={"epoch": 1}))
