"""Prometheus, Alertmanager and Grafana are handed the tested files, with this release's names."""

from __future__ import annotations

import json

import yaml

from tests.charts.helm import CHART, render
from tests.charts.release import Release

FILES = CHART / "files"


def test_the_rules_are_the_file_as_it_is(release_of):
    rule = release_of("everything").named("PrometheusRule", "rules")
    assert rule["spec"] == yaml.safe_load((FILES / "rules.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_alertmanagers_configuration_has_this_releases_names():
    release = Release(render("--set", "monitoring.alertmanager.enabled=true"))
    secret = release.named("Secret", "-alertmanager")
    given = yaml.safe_load(secret["stringData"]["alertmanager.yaml"])
    file = yaml.safe_load((FILES / "alertmanager.yaml").read_text())
    assert given["route"] == file["route"]
    (webhook,) = given["receivers"][-1]["webhook_configs"]
    assert webhook["url"] == "http://loop-training-engine-scheduler.ml.svc:8000/v1/alerts"
    path = webhook["http_config"]["authorization"]["credentials_file"]
    assert path == "/etc/alertmanager/secrets/loop-training-engine-tokens/alertmanager"


def test_the_operators_route_is_that_of_the_file_and_has_a_token(release_of):
    release = release_of("everything")
    given = release.named("AlertmanagerConfig", "retraining")["spec"]
    file = yaml.safe_load((FILES / "alertmanager.yaml").read_text())
    (route,) = [r for r in file["route"]["routes"] if r["receiver"] == "scheduler"]
    (matcher,) = given["route"]["matchers"]
    assert ['{name}{matchType}"{value}"'.format(**matcher)] == route["matchers"]
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
