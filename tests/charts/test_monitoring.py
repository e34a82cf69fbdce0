"""Prometheus, Alertmanager and Grafana are handed the tested files, with this release's names."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache

import pytest
import yaml

from tests.charts.helm import CHART, NAMESPACE, ROOT, render, values_of
from tests.charts.release import Release
from tests.monitoring.servers import program

FILES = CHART / "files"
CASES = sorted((ROOT / "tests/monitoring/rules").glob("*.yaml"))


def rules_of(release):
    rule = release.named("PrometheusRule", "rules")
    return {rule.get("alert"): rule for group in rule["spec"]["groups"] for rule in group["rules"]}


@cache
def own_rules():
    """What the chart makes of the rules for a release whose pods the rules' cases are about."""
    options = {
        "fullnameOverride": "ml-training-engine",
        "monitoring.prometheusRule.enabled": "true",
    }
    words = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    return Release(render(*words)).named("PrometheusRule", "rules")["spec"]


def but_for_expressions(rule):
    """What of a rule is the same in each release."""
    annotations = {k: v for k, v in rule.get("annotations", {}).items() if k != "baseline"}
    kept = {k: v for k, v in rule.items() if k not in ("expr", "annotations", "labels")}
    return kept | {"annotations": annotations, "labels": rule.get("labels", {})}


def in_namespace(labels, namespace):
    """These labels, as text, with the namespace in place of what they have of one."""
    name, _, rest = re.sub(r'namespace="\w+"(, )?', "", labels).partition("{")
    return f'{name}{{namespace="{namespace}", {rest or "}"}'


def test_the_rules_are_those_of_the_file(release_of):
    rule = release_of("everything").named("PrometheusRule", "rules")
    file = yaml.safe_load((FILES / "rules.yaml").read_text())
    for group in rule["spec"]["groups"]:
        for one in group["rules"]:
            assert one["labels"].pop("namespace") == rule["metadata"]["namespace"]
    made, given = (
        [(group["name"], [but_for_expressions(r) for r in group["rules"]]) for group in groups]
        for groups in (rule["spec"]["groups"], file["groups"])
    )
    assert made == given
    assert rule["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_rules_hold_in_the_releases_namespace_beside_another_release(tmp_path, path):
    tests = yaml.safe_load(path.read_text()) | {"rule_files": ["rules.yaml"]}
    for test in tests["tests"]:
        test["input_series"] = [
            series | {"series": in_namespace(series["series"], namespace)}
            for namespace in (NAMESPACE, "elsewhere")
            for series in test["input_series"]
        ]
        for check in test.get("promql_expr_test", []):
            for sample in check.get("exp_samples", []):
                if sample["labels"] != "{}":
                    sample["labels"] = in_namespace(sample["labels"], NAMESPACE)
        for check in test.get("alert_rule_test", []):
            for alert in check["exp_alerts"]:
                alert["exp_labels"]["namespace"] = NAMESPACE
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(own_rules()))
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    words = [program("promtool"), "test", "rules", tmp_path / "tests.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("release", "namespace"), [("loop", "ml"), ("scale-up", "start-up"), ("up", "up")]
)
def test_each_series_is_asked_for_in_the_releases_namespace(release, namespace):
    tests = [test for path in CASES for test in yaml.safe_load(path.read_text())["tests"]]
    series = {s["series"].partition("{")[0] for test in tests for s in test["input_series"]}
    words = ("--set", "monitoring.prometheusRule.enabled=true", "--namespace", namespace)
    groups = Release(render(*words, release=release)).named("PrometheusRule", "rules")["spec"]
    rules = [rule for group in groups["groups"] for rule in group["rules"]]
    series |= {rule["record"] for rule in rules if "record" in rule}
    found = set()
    for rule in rules:
        expression = rule["expr"].replace(f'namespace="{namespace}"', "OURS")
        expression = re.sub(r'"[^"]*"', '""', expression)
        for name in series:
            asked = re.findall(rf"(?<![\w:]){name}(?![\w:])(.{{0,5}})", expression)
            assert set(asked) <= {"{OURS"}, rule
            found |= {name} if asked else set()
    assert found == series


@pytest.mark.parametrize("case", ["kind", "gpu", "everything"])
def test_alerts_about_pods_and_volumes_are_about_those_of_the_release(case):
    release = Release(render("--set", "monitoring.prometheusRule.enabled=true", *values_of(case)))
    rules = rules_of(release)
    (pod,) = re.findall(r'pod=~"(.*?)"', rules["TrainingPodCrashLooping"]["expr"])
    (claim,) = re.findall(r'claim=~"(.*?)"', rules["TrainingVolumeAlmostFull"]["expr"])
    claims = release.names("PersistentVolumeClaim")
    claims |= {f"data-{name}-0" for name in release.names("StatefulSet")}
    assert all(re.fullmatch(pod, f"{workload.name}-0") for workload in release.workloads)
    assert all(re.fullmatch(claim, name) for name in claims)
    assert not re.fullmatch(pod, "another-training-engine-registry-0")
    assert not re.fullmatch(claim, "data-another-training-engine-postgresql-0")


@pytest.mark.parametrize(
    ("case", "services"),
    [
        ("kind", ["scheduler", "registry", "serving", "monitor"]),
        ("minimal", ["scheduler", "registry"]),
    ],
)
def test_only_a_service_that_should_be_there_is_missed(case, services):
    release = Release(render("--set", "monitoring.prometheusRule.enabled=true", *values_of(case)))
    asked = rules_of(release)["TrainingServiceAbsent"]["expr"]
    up = 'up{{namespace="ml", job="{}"}}'
    assert asked == "\nor ".join(f"absent({up.format(service)})" for service in services)


def test_alertmanagers_configuration_has_this_releases_names():
    release = Release(render("--set", "monitoring.alertmanager.enabled=true"))
    secret = release.named("Secret", "-alertmanager")
    given = yaml.safe_load(secret["stringData"]["alertmanager.yaml"])
    file = yaml.safe_load((FILES / "alertmanager.yaml").read_text())
    trigger = 'trigger=~"drift|performance"'
    for route in file["route"]["routes"]:
        if route.get("matchers") == [trigger]:
            route["matchers"] = ['namespace="ml"', trigger]
    assert given["route"] == file["route"]
    (webhook,) = given["receivers"][-1]["webhook_configs"]
    assert webhook["url"] == "http://loop-training-engine-scheduler.ml.svc:8000/v1/alerts"
    path = webhook["http_config"]["authorization"]["credentials_file"]
    assert path == "/etc/alertmanager/secrets/loop-training-engine-tokens/alertmanager"


def test_alertmanager_may_be_given_its_own_token_alone():
    options = ("monitoring.alertmanager.enabled=true", "monitoring.alertmanager.tokenSecret=own")
    release = Release(render(*(word for option in options for word in ("--set", option))))
    text = release.named("Secret", "-alertmanager")["stringData"]["alertmanager.yaml"]
    assert "/etc/alertmanager/secrets/own/alertmanager" in text
    assert "tokens" not in text


def test_alerts_link_to_where_the_runbooks_are_read():
    page = "https://wiki.example.com/runbooks"
    settings = {"enabled": "true", "runbooks": page}
    options = [
        word
        for key, value in settings.items()
        for word in ("--set", f"monitoring.prometheusRule.{key}={value}")
    ]
    rules = rules_of(Release(render(*options)))
    links = {rule["annotations"]["runbook_url"] for name, rule in rules.items() if name}
    assert links
    assert all(link.startswith(f"{page}#") for link in links)


def test_the_operators_route_is_that_of_the_file_and_has_a_token(release_of):
    release = release_of("everything")
    given = release.named("AlertmanagerConfig", "retraining")["spec"]
    file = yaml.safe_load((FILES / "alertmanager.yaml").read_text())
    (route,) = [r for r in file["route"]["routes"] if r["receiver"] == "scheduler"]
    matchers = ['{name}{matchType}"{value}"'.format(**m) for m in given["route"]["matchers"]]
    assert matchers == ['namespace="ml"', *route["matchers"]]
    for mine, files in (("groupBy", "group_by"), ("repeatInterval", "repeat_interval")):
        assert given["route"][mine] == route[files]
    (webhook,) = given["receivers"][0]["webhookConfigs"]
    assert webhook["url"] == "http://training-scheduler.ml.svc:8000/v1/alerts"
    credentials = webhook["httpConfig"]["authorization"]["credentials"]
    assert credentials["key"] in release.secret_keys[credentials["name"]]


def test_each_dashboard_is_a_configmap_for_the_sidecar(release_of):
    release = release_of("everything")
    boards = [c for c in release.of("ConfigMap") if "grafana_dashboard" in c["metadata"]["labels"]]
    files = {path.name: json.loads(path.read_text()) for path in FILES.glob("dashboards/*.json")}
    assert files
    shown = {name: json.loads(text) for c in boards for name, text in c["data"].items()}
    assert shown == files
    for board in boards:
        assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert board["metadata"]["annotations"]["grafana_folder"] == "Training engine"
        assert len(json.dumps(board)) < 1_000_000
