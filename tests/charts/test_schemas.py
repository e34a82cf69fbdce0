"""Every object is what Kubernetes, KEDA and Prometheus' operator take, field by field."""

from __future__ import annotations

import json

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus
from cloudcoil.models.prometheus_operator import v1alpha1 as prometheus_alpha

from tests.charts.helm import CHART, render, values_of

OLDEST, NEWEST = "1.25", "1.37"
CUSTOM = {
    "ScaledObject": keda.ScaledObject,
    "TriggerAuthentication": keda.TriggerAuthentication,
    "ServiceMonitor": prometheus.ServiceMonitor,
    "PrometheusRule": prometheus.PrometheusRule,
    "AlertmanagerConfig": prometheus_alpha.AlertmanagerConfig,
}
# What the chart uses of the Gateway API's HTTPRoute, version 1.
HTTP_ROUTE = {
    "type": "object",
    "required": ["parentRefs", "hostnames", "rules"],
    "additionalProperties": False,
    "properties": {
        "parentRefs": {
            "minItems": 1,
            "items": {
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
            },
        },
        "hostnames": {"items": {"type": "string", "minLength": 1}},
        "rules": {
            "items": {
                "additionalProperties": False,
                "properties": {
                    "matches": {
                        "items": {
                            "additionalProperties": False,
                            "properties": {
                                "path": {
                                    "additionalProperties": False,
                                    "properties": {
                                        "type": {"const": "PathPrefix"},
                                        "value": {"pattern": "^/"},
                                    },
                                }
                            },
                        }
                    },
                    "backendRefs": {
                        "items": {
                            "required": ["name", "port"],
                            "additionalProperties": False,
                            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                        }
                    },
                },
            }
        },
    },
}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_fits_the_schema_of_its_version(release, version):
    unknown = set(CUSTOM) | {"HTTPRoute"}
    for document in release.documents:
        if document["kind"] not in unknown:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found(release_of):
    (document,) = release_of("minimal").of("ConfigMap")[:1]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document | {"colour": "red"}, NEWEST, strict=True)


@pytest.mark.parametrize("case", ["gpu", "everything"])
def test_custom_resources_keep_every_field_over_a_round_trip(release_of, case):
    documents = release_of(case).of(*CUSTOM)
    assert documents
    for document in documents:
        model = CUSTOM[document["kind"]].model_validate(document)
        again = json.loads(model.model_dump_json(by_alias=True, exclude_unset=True))
        assert again == document


def test_routes_are_of_the_gateway_api(release_of):
    routes = release_of("everything").of("HTTPRoute")
    assert len(routes) == 4
    for route in routes:
        assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
        jsonschema.validate(route["spec"], HTTP_ROUTE)


def test_the_oldest_version_is_the_one_that_the_chart_asks_for():
    asked = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    assert asked == f">={OLDEST}.0-0"
    assert kubernetes_validate.latest_version().rpartition(".")[0] == NEWEST
    for version in (OLDEST, NEWEST):
        assert render("--kube-version", f"{version}.0", *values_of("everything"))
