"""Jobs from their submission to a promoted model, over real servers and a real worker."""

from __future__ import annotations


def test_a_job_becomes_a_registered_gated_and_promoted_model(platform, trainer, make_job):
    job = platform.scheduler.submit("training", make_job("digits", epochs=3))
    running = platform.wait_for(job, lambda found: (found.progress or {}).get("step"))
    assert running.progress["total_steps"] == 40 * 3
    done = platform.end_of(job)
    assert done.status == "completed", (done.error, platform.log(job))
    assert done.result["promoted"]
    assert done.result["verdict"]["passed"]
    champion = platform.registry.tagged("digits")
    assert champion.model_id == done.result["model_id"]
    assert champion.version == "1"
    assert champion.metrics["held_out_accuracy"] > 0.9
    run = platform.registry.get_run(done.result["run_id"])
    assert run.status == "completed"
    names = {p.name for p in platform.registry.metric_points(run.run_id, limit=200).items}
    assert {"train/loss", "train_loss", "val_loss", "val_accuracy"} <= names
    profile = platform.registry.reference_profile(champion.model_id)
    assert {"brightness", "prediction.class", "label"} <= set(profile["features"])
    assert "Uploaded checkpoint_epoch" in platform.log(job)
