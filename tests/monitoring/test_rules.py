"""The rules: promtool tests each alert, and every alert has its test, its words and its runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.servers import program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts/training-engine/files/rules.yaml"
TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
ALERT = re.compile(r'ALERTS\{alertname="(\w+)", alertstate=(?:"firing"|~"\.\+")\}')


def rules_of(kind):
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


ALERTS = rules_of("alert")


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)


def cases():
    """Alert, whether it must fire, the labels that it then has, and the case's name."""
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test.get("promql_expr_test", []):
                if not check["expr"].startswith("ALERTS"):
                    continue
                for sample in check.get("exp_samples", []):
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                    yield labels["alertname"], True, labels, test["name"]
                for name in ALERT.findall(check["expr"]):
                    if not check.get("exp_samples"):
                        yield name, False, {}, test["name"]


CASES = list(cases())


def test_prometheus_takes_the_rules():
    done = run(program("promtool"), "check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


# The chart's tests ask the same of the rules that it makes of these: one file is enough here.
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem == "disk" else pytest.mark.slow) for path in TESTS],
    ids=lambda path: path.stem,
)
def test_promtool_finds_what_each_case_expects(path):
    done = run(program("promtool"), "test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ("({}) * 0 > 1", 'exp: {{__name__="ALERTS", alertname="{}"'),
        ("{} or on () vector(1)", 'got: {{__name__="ALERTS", alertname="{}"'),
    ],
    ids=["never fires", "always fires"],
)
def test_the_cases_notice_an_alert_that(tmp_path, spoilt, told):
    rules = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        rule["expr"] = spoilt.format(rule["expr"])
        rule.pop("for", None)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    for path in TESTS:
        tests = yaml.safe_load(path.read_text()) | {"rule_files": ["rules.yaml"]}
        (tmp_path / path.name).write_text(yaml.safe_dump(tests))
    done = run(program("promtool"), "test", "rules", *(str(tmp_path / p.name) for p in TESTS))
    found = done.stdout + done.stderr
    assert [name for name in ALERTS if told.format(name) not in found] == []


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name):
    assert {fires for alert, fires, _, _ in CASES if alert == name} == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_it_is(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["labels"].get("trigger") in {None, "drift", "performance"}
    notes = rule["annotations"]
    assert {"summary", "description", "runbook_url"} <= set(notes)
    assert notes["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")


@pytest.mark.parametrize("name", ALERTS)
def test_each_label_that_the_words_name_is_there_when_it_fires(name):
    words = " ".join(ALERTS[name]["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", words))
    for _, _, labels, case in (found for found in CASES if found[0] == name and found[1]):
        assert named <= set(labels), case


def test_no_test_is_about_an_alert_that_is_not_there():
    assert {alert for alert, *_ in CASES} == set(ALERTS)


def test_each_thing_that_may_break_has_an_alert():
    expressions = " ".join(rule["expr"] for rule in ALERTS.values())
    for metric in (
        "drift_status",
        "model:performance_metric:current",
        "training_queue_oldest_seconds",
        "training_leases_expired",
        'training_jobs{status="failed"}',
        "process_start_time_seconds",
        "model:serving_errors:ratio_rate1h",
        "model:serving_slow:ratio_rate1h",
        "training_disk_free_bytes",
        "absent(up",
    ):
        assert metric in expressions


def test_each_burn_rate_that_an_alert_asks_for_is_recorded_and_each_recorded_is_asked_for():
    expressions = " ".join(
        rule["expr"] for rule in [*ALERTS.values(), *rules_of("record").values()]
    )
    asked = set(re.findall(r"model:\w+:\w+", expressions))
    assert asked == set(rules_of("record"))
