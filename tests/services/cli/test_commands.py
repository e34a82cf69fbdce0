"""Every command on a running stack, for people and for programs."""

from __future__ import annotations

import hashlib
import json

import yaml

from services.cli.submission import read_submission
from tests.services.cli.conftest import call
from tests.waiting import wait_until
from utils.service.contracts.jobs import DataSource
from utils.service.digits import read_digits


def test_a_watched_job_tells_its_progress_and_its_end(trained):
    assert "running" in trained.watched
    assert "train, step" in trained.watched
    assert "is completed: version 1 (model 1), held_out_accuracy" in trained.watched
    assert "the gate passed, promoted." in trained.watched


def test_watching_a_finished_job_tells_its_events_as_json_lines(trainctl, trained):
    events = trainctl("watch", trained.job_id, "--json").lines()
    statuses = [e["data"]["to_status"] for e in events if e["event"] == "status"]
    assert statuses == ["pending", "claimed", "running", "completed"]


def test_jobs_are_listed(trainctl, trained):
    assert "digits" in trainctl("jobs").out
    (job,) = trainctl("jobs", "--status", "completed", "--model", "digits", "--json").json()
    assert job["job_id"] == trained.job_id
    assert "no such jobs" in trainctl("jobs", "--type", "export").out


def test_a_job_is_shown_with_its_history(trainctl, trained):
    shown = trainctl("job", trained.job_id).out
    assert "to test" in shown
    assert "held_out_accuracy" in shown
    document = trainctl("job", trained.job_id, "--json").json()
    assert document["job"]["status"] == "completed"
    assert document["history"][-1]["to_status"] == "completed"


def test_a_log_is_printed_whole_or_its_end(trainctl, trained):
    text = trainctl("logs", trained.job_id, "-f").out
    assert "Uploaded checkpoint_epoch" in text
    assert text.endswith(trainctl("logs", trained.job_id, "--tail", "40").out)
    pieces = trainctl("logs", trained.job_id, "--json").lines()
    assert "".join(piece["text"] for piece in pieces) == text


def test_a_waiting_job_is_cancelled(trainctl, trained):
    first = trainctl("submit", "--sample", "digits", "--epochs", "300", "--json").json()
    words = ("submit", "--sample", "digits", "--after", first["job_id"], "--json")
    second = trainctl(*words).json()
    assert second["unmet_dependencies"] == 1
    assert "is cancelled" in trainctl("cancel", second["job_id"], "--reason", "not needed").out
    stopping = trainctl("cancel", first["job_id"], "--json").json()
    assert stopping["status"] in ("cancelling", "cancelled")
    trainctl("watch", first["job_id"], code=4)


def test_a_job_comes_from_a_file(trainctl, trained, tmp_path):
    file = tmp_path / "my job.yaml"
    config = read_submission(None, "digits", "from-file", 1, {}).config
    config["training_config"]["max_steps"] = 2
    file.write_text(yaml.safe_dump({"job_type": "training", "config": config, "priority": 3}))
    done = trainctl("submit", file, "--wait", "--json").json()
    assert (done["status"], done["priority"], done["model_name"]) == ("completed", 3, "from-file")


def test_models_are_listed_shown_and_compared(trainctl, weaker):
    assert "held_out_accuracy" in trainctl("models", "digits").out
    model = trainctl("models", "digits", "--tag", "production", "--json").json()[0]
    shown = trainctl("models", "show", model["model_id"])
    assert "There is no champion to beat." in shown.out
    sheet = trainctl("models", "show", model["model_id"], "--json").json()
    assert sheet["verdict"]["passed"]
    assert sheet["has_reference_profile"]
    compared = trainctl("compare", model["model_id"], weaker, "--json").json()
    row = next(r for r in compared["metrics"] if r["metric"] == "train_loss")
    values = dict(zip((model["model_id"], weaker), row["values"], strict=True))
    assert row["best"] == [min(values, key=values.get)]
    assert "* the best" in trainctl("compare", model["model_id"], weaker).out


def test_a_version_is_promoted_by_force_and_rolled_back(trainctl, weaker):
    assert "reason" in trainctl("promote", weaker, "--force", code=1).err
    forced = trainctl("promote", weaker, "--force", "--reason", "to see", "--json").json()
    assert forced["to_tag"] == "production"
    back = trainctl("rollback", "digits", "--reason", "seen enough")
    assert "is production of digits, instead of model" in back.out
    history = trainctl("models", "show", weaker).out
    assert "forced: to see" in history


def test_a_reason_with_brackets_harms_no_table(trainctl, trained):
    reason = "see [/here] and [bold]there[torch]"
    words = ("submit", "--sample", "digits", "--after", trained.job_id, "--reason", reason)
    job = trainctl(*words, "--json").json()["job_id"]
    trainctl("cancel", job, "--reason", reason)
    assert reason in trainctl("jobs").out
    assert trainctl("job", job).out.count(reason) > 1


def test_a_schedule_goes_by_its_name_and_by_its_number(trainctl, tmp_path):
    file = tmp_path / "job.yaml"
    job = read_submission(None, "digits", None, 1, {"priority": 4, "max_attempts": 2})
    file.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True)))
    words = ("schedules", "create", "weekly", "0 3 * * 1", file, "--timezone", "Asia/Tokyo")
    assert "03:00 Asia/Tokyo (18:00 UTC)" in trainctl(*words).out
    (made,) = (one for one in trainctl("schedules", "--json").json() if one["name"] == "weekly")
    assert (made["priority"], made["max_attempts"]) == (4, 2)
    for called in ("weekly", made["schedule_id"]):
        assert "(weekly) is paused." in trainctl("schedules", "pause", called).out
        assert trainctl("schedules", "resume", called, "--json").json()["enabled"]
        assert "03:00 Asia/Tokyo" in trainctl("schedules", "preview", called).out
        assert trainctl("schedules", "history", called, "--json").json() == []
    assert "(weekly) is deleted." in trainctl("schedules", "delete", "weekly").out
    assert "There is no schedule 'weekly'" in trainctl("schedules", "pause", "weekly", code=1).err


def test_schedules_are_made_paused_resumed_and_deleted(trainctl):
    words = ("schedules", "create", "nightly", "0 3 * * *", "--sample", "digits")
    made = trainctl(*words, "--timezone", "Europe/Berlin", "--json").json()
    number = made["schedule_id"]
    assert "Europe/Berlin" in trainctl("schedules").out
    assert len(trainctl("schedules", "preview", number, "--count", "3", "--json").json()) == 3
    assert "UTC" in trainctl("schedules", "preview", number).out
    assert not trainctl("schedules", "pause", number, "--json").json()["enabled"]
    assert "paused" in trainctl("schedules", "list").out
    assert "next job" in trainctl("schedules", "resume", number).out
    assert trainctl("schedules", "history", number, "--json").json() == []
    assert trainctl("schedules", "delete", number, "--json").json()["deleted"]
    assert "There are no schedules." in trainctl("schedules").out


def test_a_trigger_is_set_explained_and_deleted(trainctl, tmp_path):
    words = ("triggers", "set", "watched", "--sample", "digits", "--drift-threshold", "0.3")
    assert "0.3 bits" in trainctl(*words).out
    explained = trainctl("triggers", "explain", "watched")
    assert "No training would start" in explained.out
    found = trainctl("triggers", "explain", "watched", "--json").json()
    assert not found["would_fire"]
    (rule,) = trainctl("triggers", "--json").json()
    file = tmp_path / "rule.json"
    file.write_text(json.dumps(rule["rule"] | {"daily_budget": 2}))
    changed = trainctl("triggers", "set", "watched", file, "--cool-down", "5", "--json").json()
    assert (changed["rule"]["daily_budget"], changed["rule"]["cool_down_seconds"]) == (2, 5)
    file.write_text(json.dumps({"job_type": "training", "config": rule["rule"]["job"]}))
    by_job = trainctl("triggers", "set", "watched", file, "--every-days", "9", "--json").json()
    assert by_job["rule"] == rule["rule"] | {
        "drift_threshold": 0.2,
        "drift_warning": 0.1,
        "time_threshold_days": 9,
    }
    assert "deleted" in trainctl("triggers", "delete", "watched").out
    assert "No model has a rule." in trainctl("triggers", "list").out


def test_status_names_every_service_with_its_memory(trainctl, stack):
    wait_until(lambda: call("status", folder=stack.folder).code == 0)
    assert "scheduler-1" in trainctl("status").out
    services = {s["name"]: s for s in trainctl("status", "--json").json()["services"]}
    assert set(services) >= {"postgres", "valkey", "registry", "scheduler-1", "trainer-1"}
    assert all(s["condition"] == "ready" and s["memory_bytes"] > 0 for s in services.values())


def test_the_doctor_finds_a_damaged_bundle_and_nothing_else(trainctl, trained, stack):
    healthy = trainctl("doctor", "--json").json()
    assert [f for f in healthy["findings"] if f["subject"] != "disk"] == []
    production = trainctl("models", "digits", "--tag", "production", "--json").json()[0]
    digest = production["artifact_digest"]
    bundle = stack.folder / "artifacts" / digest[:2] / digest
    content = bundle.read_bytes()
    bundle.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        found = trainctl("doctor", code=1)
        assert digest in found.out
        assert "do:" in found.out
    finally:
        bundle.write_bytes(content)
    trainctl("doctor", "--deep")


def test_data_is_uploaded_for_jobs_to_name(trainctl, tmp_path):
    (tmp_path / "dark").mkdir()
    (tmp_path / "dark" / "1.png").write_bytes(b"no image, but bytes")
    folder = trainctl("upload", tmp_path).out.strip()
    assert folder == trainctl("upload", tmp_path, "--json").json()["location"]
    file = trainctl("upload", tmp_path / "dark" / "1.png").out.strip()
    digest = hashlib.sha256(b"no image, but bytes").hexdigest()
    assert file == f"artifact:{digest}"
    assert file != folder
    assert DataSource(kind="images", location=folder).location == folder


def test_a_served_version_answers(trainctl, trained, stack, tmp_path):
    words = ("predict", "digits", "--sample", "digits", "--count", "3")
    wait_until(lambda: call(*words, folder=stack.folder).code == 0)
    assert "answers:" in trainctl(*words).out
    answer = trainctl(*words, "--json").json()
    assert (answer["model"], len(answer["predictions"])) == ("digits", 3)
    asked = json.dumps({"instances": read_digits()["test"].images[:2].tolist()})
    assert len(trainctl("predict", "digits", "-", "--json", given=asked).json()["predictions"]) == 2
    assert "Traceback" not in trainctl("predict", "digits", "-", given="[[1]]", code=1).err
    assert trainctl("predict", "nobody", "--sample", "digits", code=1).err
