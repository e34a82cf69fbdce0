"""What one object says of another is true: selectors, ports, names, keys, labels."""

from __future__ import annotations

import pytest

from tests.charts.helm import CASES, RELEASE
from tests.charts.release import matches

# What a case's values name and somebody else makes.
FOREIGN = {
    "Secret": {
        "training-tokens",
        "training-database",
        "training-redis",
        "object-store",
        "registry-credentials",
        "mirror-credentials",
        "example-com-tls",
        "alert-channels",
    },
    "PersistentVolumeClaim": {"training-data", "job-logs"},
    "ServiceAccount": {"default"},
    "PriorityClass": {"platform", "large-training"},
    "ConfigMap": set(),
}


def test_names_of_one_kind_are_distinct(release):
    keys = [(d["kind"], d["metadata"]["name"]) for d in release.documents]
    assert len(keys) == len(set(keys))


def test_a_selector_chooses_the_pods_of_its_own_workload_and_no_others(release):
    for document in release.of("Deployment", "StatefulSet"):
        selector = document["spec"]["selector"]
        component = document["metadata"]["labels"]["app.kubernetes.io/component"]
        assert set(selector["matchLabels"]) == {
            f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")
        }
        assert release.selected(selector) == {component}


def test_a_service_leads_to_named_ports_of_one_component(release):
    services = release.of("Service")
    assert len(services) >= 2
    for service in services:
        chosen = release.selected({"matchLabels": service["spec"]["selector"]})
        assert chosen == {service["metadata"]["labels"]["app.kubernetes.io/component"]}
        (container,) = release.workload(chosen.pop()).spec["containers"]
        listening = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert listening[port["targetPort"]] == port["port"]


def test_every_web_service_and_store_has_a_service(release):
    served = {s["spec"]["selector"]["app.kubernetes.io/component"] for s in release.of("Service")}
    listening = {w.component for w in release.workloads if w.spec["containers"][0].get("ports")}
    assert served == listening


def test_disruption_budgets_and_autoscalers_are_of_one_workload(release):
    for budget in release.of("PodDisruptionBudget"):
        component = budget["metadata"]["labels"]["app.kubernetes.io/component"]
        assert release.selected(budget["spec"]["selector"]) == {component}
    scaled = {
        scaler["spec"]["scaleTargetRef"]["name"]
        for scaler in release.of("HorizontalPodAutoscaler", "ScaledObject")
    }
    assert scaled <= release.names("Deployment")
    for deployment in release.of("Deployment"):
        assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] not in scaled)


def test_whatever_a_pod_names_is_there(release):
    for workload in release.workloads:
        for kind, name in _named(workload.spec):
            assert name in release.names(kind) | FOREIGN[kind], (workload.name, kind)
        for name, keys in workload.secrets.items():
            assert keys <= release.secret_keys.get(name, keys), (workload.name, name)


def _named(spec):
    """Everything that a pod refers to by its name."""
    yield "ServiceAccount", spec["serviceAccountName"]
    if "priorityClassName" in spec:
        yield "PriorityClass", spec["priorityClassName"]
    for pull in spec.get("imagePullSecrets", []):
        yield "Secret", pull["name"]
    for container in spec["containers"]:
        for source in container.get("envFrom", []):
            yield "Secret", source["secretRef"]["name"]
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        for source in volume.get("projected", {}).get("sources", []):
            yield "Secret", source["secret"]["name"]


def test_mounts_and_volumes_fit_and_every_volume_is_used(release):
    for workload in release.workloads:
        claims = workload.document["spec"].get("volumeClaimTemplates", [])
        volumes = {v["name"] for v in workload.spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in claims}
        mounted = {m["name"] for c in workload.containers for m in c["volumeMounts"]}
        assert mounted == volumes, workload.name
        for container in workload.containers:
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert len(paths) == len(set(paths))


def test_a_pod_is_given_no_key_that_it_does_not_need(release):
    tokens = {
        "registry": set(),
        "scheduler": set(),
        "serving": {"serving"},
        "monitor": {"monitor", "slack-webhook", "smtp-password"},
    }
    for workload in release.workloads:
        own = tokens.get(workload.component, {workload.component}) | {"tokens.json", "url"}
        given = set().union(*workload.secrets.values())
        if workload.component in {"postgresql", "redis"}:
            own = {"password"}
        assert given <= own, workload.name
        if workload.component.startswith("trainer-"):
            assert given == {workload.component, "url"}
            assert not any("postgresql" in n or "database" in n for n in workload.secrets)


def test_ways_in_lead_to_services(release_of):
    release = release_of("everything")
    hosts = {}
    for ingress in release.of("Ingress"):
        (rule,) = ingress["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        hosts[rule["host"]] = path["backend"]["service"]["name"]
        assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    assert hosts == {
        "models.example.com": "training-registry",
        "jobs.example.com": "training-scheduler",
        "predictions.example.com": "training-serving",
        "drift.example.com": "training-monitor",
    }
    for route in release.of("HTTPRoute"):
        (host,) = route["spec"]["hostnames"]
        (backend,) = route["spec"]["rules"][0]["backendRefs"]
        assert (hosts[host], 8000) == (backend["name"], backend["port"])


def test_prometheus_scrapes_every_web_service_and_nothing_else(release_of):
    release = release_of("everything")
    monitor = release.named("ServiceMonitor", "services")
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/component"
    (endpoint,) = monitor["spec"]["endpoints"]
    scraped = set()
    for service in release.of("Service"):
        ports = {port["name"] for port in service["spec"]["ports"]}
        if matches(monitor["spec"]["selector"], service["metadata"]["labels"]):
            scraped |= {service["metadata"]["name"]} if endpoint["port"] in ports else set()
    assert scraped == {f"training-{n}" for n in ("registry", "scheduler", "serving", "monitor")}


def test_labels_are_the_usual_ones_everywhere(release):
    for document in release.documents:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/part-of"] == "training-engine"
        assert {"app.kubernetes.io/version", "helm.sh/chart"} <= set(labels)
        if document["kind"] != "PriorityClass":
            assert document["metadata"]["namespace"] == "ml"


@pytest.mark.parametrize("case", CASES)
def test_tables_are_there_before_the_pods_that_use_them(release_of, case):
    release = release_of(case)
    for component in ("registry", "scheduler"):
        (waiting,) = release.workload(component).spec["initContainers"]
        assert waiting["command"][2:4] == ["utils.training.database", "wait"]
    job = release.workload("migration")
    assert job.spec["containers"][0]["command"][2:4] == ["utils.training.database", "upgrade"]
    hook = job.document["metadata"].get("annotations", {}).get("helm.sh/hook")
    # A hook comes before the chart's own Postgres, and would wait for it in vain.
    assert hook == ("pre-install,pre-upgrade" if case == "external-stores" else None)
