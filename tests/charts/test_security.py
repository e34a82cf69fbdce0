"""Pod Security's "restricted", and more: no token, no mutable image, no unbounded means."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from tests.charts.helm import render
from tests.charts.release import Release, workload_of
from utils.service.auth import TokenBook

VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def faults(workload):
    """Where a workload's pods break the rules of "restricted" or those of this chart."""
    spec = workload.spec
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "has no seccomp profile"
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")):
        yield "shares a namespace with its node"
    if spec.get("automountServiceAccountToken") is not False:
        yield "is given a token of the cluster"
    if spec.get("enableServiceLinks") is not False:
        yield "gets variables from services"
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"has a volume of a forbidden kind: {volume['name']}"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"has an unbounded folder: {volume['name']}"
    for container in workload.containers:
        yield from _faults_of_container(container)
        yield from _faults_of_probes(workload, container)


def _faults_of_container(container):
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    if context.get("privileged") or any("hostPort" in p for p in container.get("ports", [])):
        yield "reaches its node"
    if not re.search(r"(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})$", container["image"]):
        yield f"has a mutable image: {container['image']}"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= set(resources.get("requests", {})):
        yield "asks for nothing"
    if "memory" not in resources.get("limits", {}):
        yield "may take all memory"
    if any(
        re.search("PASSWORD$|TOKEN$|_URL$", e["name"]) and "@" in e["value"]
        for e in container.get("env", [])
    ):
        yield "has a secret in its environment"


def _faults_of_probes(workload, container):
    if not workload.is_service or container in workload.spec.get("initContainers", []):
        return
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe not in container:
            yield f"has no {probe}"
    live, ready = container.get("livenessProbe"), container.get("readinessProbe")
    if live and "httpGet" in live:
        paths = live["httpGet"]["path"], ready["httpGet"]["path"]
        if paths != ("/healthz", "/readyz"):
            yield f"is asked for {paths}"


def test_no_pod_breaks_a_rule(release):
    found = {w.name: list(faults(w)) for w in release.workloads}
    assert found == {name: [] for name in found}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"automountServiceAccountToken": True}, "is given a token of the cluster"),
        ({"hostNetwork": True}, "shares a namespace with its node"),
        ({"securityContext": {"runAsNonRoot": True}}, "may run as root"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "has a volume of a forbidden"),
        ({"volumes": [{"name": "x", "emptyDir": {}}]}, "has an unbounded folder"),
    ],
)
def test_a_broken_rule_of_a_pod_is_found(release_of, change, fault):
    document = json.loads(json.dumps(release_of("kind").workload("registry").document))
    document["spec"]["template"]["spec"] |= change
    assert any(found.startswith(fault) for found in faults(workload_of(document)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image": "training-engine-registry"}, "has a mutable image"),
        ({"image": "training-engine-registry:latest"}, "has a mutable image"),
        ({"securityContext": {"privileged": True}}, "reaches its node"),
        ({"resources": {}}, "may take all memory"),
        ({"livenessProbe": None}, "is asked for"),
        ({"env": [{"name": "X_URL", "value": "redis://:p@h"}]}, "has a secret in its environment"),
    ],
)
def test_a_broken_rule_of_a_container_is_found(release_of, change, fault):
    document = json.loads(json.dumps(release_of("kind").workload("registry").document))
    container = document["spec"]["template"]["spec"]["containers"][0]
    if change == {"livenessProbe": None}:
        change = {"livenessProbe": {"httpGet": {"path": "/ping", "port": "http"}}}
    container |= change
    assert any(found.startswith(fault) for found in faults(workload_of(document)))


def test_service_accounts_have_no_tokens_and_no_rights(release):
    assert all(a["automountServiceAccountToken"] is False for a in release.of("ServiceAccount"))
    assert not release.of("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def test_each_caller_has_a_token_of_its_own_and_services_know_digests_only(release_of):
    for case in ("kind", "gpu"):
        release = release_of(case)
        content = dict(release.named("Secret", "-tokens")["stringData"])
        book = {entry["name"]: entry for entry in json.loads(content.pop("tokens.json"))}
        assert set(book) == set(content)
        assert len(set(content.values())) == len(content)
        for caller, text in content.items():
            assert len(text) >= 40
            assert book[caller]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        trainers = {caller for caller, entry in book.items() if entry["role"] == "trainer"}
        assert trainers == {w.component for w in release.workloads if "trainer-" in w.component}
        assert {c for c, entry in book.items() if entry["role"] == "admin"} == {"admin"}


def test_a_service_knows_its_callers_by_the_rendered_book(release_of, tmp_path):
    content = release_of("kind").named("Secret", "-tokens")["stringData"]
    (tmp_path / "tokens.json").write_text(content["tokens.json"])
    book = TokenBook(tmp_path / "tokens.json")
    roles = {"trainer-cpu": "trainer", "serving": "reader", "monitor": "submitter"}
    for caller, role in roles.items():
        found = book.caller(content[caller])
        assert (found.name, found.role) == (caller, role)
    assert book.caller("somebody's") is None


def test_passwords_are_in_no_argument_and_no_configmap(release_of):
    release = release_of("kind")
    secrets = {
        v for s in release.of("Secret") for k, v in s["stringData"].items() if k != "tokens.json"
    }
    others = json.dumps([d for d in release.documents if d["kind"] != "Secret"])
    assert secrets
    assert not any(text in others for text in secrets)


def test_a_secret_that_is_there_is_used_and_none_is_made():
    release = Release(
        render(
            "--set",
            "tokens.existingSecret=mine,postgresql.existingSecret=pg,redis.existingSecret=r",
        )
    )
    assert not release.of("Secret")
    assert set(release.workload("registry").secrets) == {"mine", "pg", "r"}
    assert release.workload("postgresql").secrets == {"pg": {"password"}}
    assert release.workload("redis").secrets == {"r": {"password"}}
    assert set(release.workload("trainer-cpu").secrets) == {"mine", "r"}
