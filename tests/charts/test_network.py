"""Who reaches whom under the rendered policies: what each pod's settings name, and nothing else."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pytest

from tests.charts.helm import NAMESPACE, RELEASE, render, values_of
from tests.charts.release import Release, matches

WEB, POSTGRES, REDIS, DNS = 8000, 5432, 6379, 53
# Which component sends to which; a port of another component's, or DNS, which all but stores ask.
NEEDED = {
    ("registry", "postgresql", POSTGRES),
    ("registry", "redis", REDIS),
    ("scheduler", "postgresql", POSTGRES),
    ("scheduler", "redis", REDIS),
    ("migration", "postgresql", POSTGRES),
    ("serving", "registry", WEB),
    ("serving", "redis", REDIS),
    ("monitor", "registry", WEB),
    ("monitor", "scheduler", WEB),
    ("monitor", "redis", REDIS),
    ("smoke-test", "registry", WEB),
    ("smoke-test", "scheduler", WEB),
    ("smoke-test", "serving", WEB),
    ("smoke-test", "monitor", WEB),
}
OF_A_TRAINER = {("registry", WEB), ("scheduler", WEB), ("redis", REDIS)}


@dataclass(frozen=True)
class Place:
    """One end of a connection: a pod of the release, a pod of a namespace, or an address."""

    labels: dict | None = None
    namespace: str = "ml"
    address: str | None = None


def allows(release, source, target, port):
    """Kubernetes' rule: the source's policies let it out, and the target's let it in."""
    return all(
        _passes(release, direction, pod, other, port, target)
        for direction, pod, other in (("Egress", source, target), ("Ingress", target, source))
        if pod.labels is not None and pod.namespace == "ml"
    )


def _passes(release, direction, pod, other, port, target):
    chosen = [
        policy["spec"]
        for policy in release.of("NetworkPolicy")
        if direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], pod.labels)
    ]
    side = "to" if direction == "Egress" else "from"
    rules = [rule for spec in chosen for rule in spec.get(direction.lower(), [])]
    return not chosen or any(
        _opens(release, rule["ports"], port, target) and any(_is(p, other) for p in rule[side])
        for rule in rules
    )


def _opens(release, ports, port, target):
    numbers = {entry["port"] for entry in ports}
    if any(entry["port"] <= port <= entry["endPort"] for entry in ports if "endPort" in entry):
        return True
    return port in numbers or port in {_number(release, name, target) for name in numbers}


def _number(release, name, target):
    """What a named port is in the target's pods."""
    for workload in release.workloads:
        if workload.labels == target.labels:
            for entry in workload.spec["containers"][0].get("ports", []):
                if entry["name"] == name:
                    return entry["containerPort"]
    return None


def _is(peer, place):
    if "ipBlock" in peer:
        block = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return place.address is not None and ipaddress.ip_address(place.address) in block
    if place.address is not None:
        return False
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": place.namespace}
        in_namespace = matches(peer["namespaceSelector"], labels)
    else:
        in_namespace = place.namespace == "ml"
    return in_namespace and matches(peer.get("podSelector", {}), place.labels or {})


def pods(release):
    return {workload.component: Place(workload.labels) for workload in release.workloads}


def needed_in(release):
    found = pods(release)
    needed = {(a, b, port) for a, b, port in NEEDED if {a, b} <= set(found)}
    for component in found:
        if component.startswith("trainer-"):
            needed |= {(component, b, port) for b, port in OF_A_TRAINER if b in found}
    return needed


@pytest.mark.parametrize("case", ["kind", "gpu", "nodes", "external-stores", "everything"])
def test_pods_of_the_release_reach_what_they_need_and_nothing_else(release_of, case):
    release = release_of(case)
    found = pods(release)
    reached = {
        (a, b, port)
        for a, source in found.items()
        for b, target in found.items()
        for port in (WEB, POSTGRES, REDIS, DNS, 22)
        if a != b and allows(release, source, target, port)
    }
    assert reached == needed_in(release)


@pytest.mark.parametrize("case", ["kind", "gpu", "nodes", "external-stores", "everything"])
def test_every_address_in_a_pods_settings_can_be_reached(release_of, case):
    release = release_of(case)
    found = pods(release)
    for workload in release.workloads:
        for container in workload.containers:
            for entry in container.get("env", []):
                if entry.get("value", "").startswith("http://"):
                    host, _, port = entry["value"].removeprefix("http://").partition(":")
                    service = release.named("Service", host)
                    target = service["spec"]["selector"]["app.kubernetes.io/component"]
                    assert allows(release, found[workload.component], found[target], int(port))


@pytest.mark.parametrize("case", ["kind", "gpu", "nodes", "external-stores", "everything"])
def test_names_are_asked_for_where_the_cluster_answers(release_of, case):
    release = release_of(case)
    dns = Place({"k8s-app": "kube-dns"}, "kube-system")
    for component, pod in pods(release).items():
        assert allows(release, pod, dns, DNS) == (component not in {"postgresql", "redis"})
        assert not allows(release, pod, dns, 443)
        assert not allows(release, pod, Place({}, "elsewhere"), DNS)
        on_node = allows(release, pod, Place(address="169.254.20.10"), DNS)
        assert on_node == (case == "external-stores")


def test_the_pods_of_a_group_reach_each_other_and_nobody_else_reaches_them(release_of):
    release = release_of("nodes")
    found = pods(release)
    group = found["trainer-nodes"]
    for port in (29400, 29500, 65535):
        assert allows(release, group, group, port)
        for other in set(found) - {"trainer-nodes"}:
            assert not allows(release, found[other], group, port), other
            assert not allows(release, group, found[other], port), other
    assert not allows(release, group, group, 22)
    alone = found["trainer-cpu"]
    assert not allows(release, alone, alone, 29400)


def test_user_code_reaches_neither_the_internet_nor_the_nodes(release_of):
    release = release_of("gpu")
    for component, pod in pods(release).items():
        for address in ("1.1.1.1", "169.254.169.254", "10.0.0.1"):
            for port in (80, 443, 10250):
                assert not allows(release, pod, Place(address=address), port), component


def test_a_pool_may_be_let_out_by_its_own_rules(release_of):
    release = release_of("everything")
    store = Place(address="10.9.0.7")
    found = pods(release)
    assert allows(release, found["trainer-cpu"], store, 443)
    assert not allows(release, found["trainer-cpu"], store, 80)
    assert not allows(release, found["trainer-spot"], store, 443)


def test_the_monitor_sends_its_alerts_and_nothing_else(release_of):
    for case, sends in (("kind", set()), ("everything", {443, 587})):
        release = release_of(case)
        channel, elsewhere = Place(address="10.8.0.1"), Place(address="10.7.0.1")
        monitor = pods(release)["monitor"]
        assert {p for p in (22, 80, 443, 587) if allows(release, monitor, channel, p)} == sends
        assert not any(allows(release, monitor, elsewhere, p) for p in (443, 587))


def test_stores_elsewhere_are_reached_at_their_addresses_only(release_of):
    release = release_of("external-stores")
    found = pods(release)
    database, redis = Place(address="10.2.0.9"), Place(address="10.3.0.9")
    objects = Place(address="10.1.2.3")
    for component in ("registry", "scheduler", "migration"):
        assert allows(release, found[component], database, 6432)
        assert not allows(release, found[component], database, 22)
    for component in ("registry", "scheduler", "serving", "monitor", "trainer-cpu"):
        assert allows(release, found[component], redis, 6380)
    assert not allows(release, found["trainer-cpu"], database, 6432)
    assert {c for c, pod in found.items() if allows(release, pod, objects, 443)} == {"registry"}


def test_an_alertmanager_beside_the_release_reaches_the_scheduler_alone():
    release = Release(render("--set", "monitoring.alertmanager.enabled=true"))
    alertmanager = Place({"app.kubernetes.io/name": "alertmanager"}, NAMESPACE)
    entered = {c for c, pod in pods(release).items() if allows(release, alertmanager, pod, WEB)}
    assert entered == {"scheduler"}
    assert not allows(release, Place({"app": "shop"}, NAMESPACE), pods(release)["scheduler"], WEB)


def test_who_may_come_in_from_other_namespaces(release_of):
    scraper = Place({"app": "prometheus"}, "monitoring")
    proxy = Place({"app": "nginx"}, "ingress-nginx")
    keda = Place({"app": "keda-operator"}, "keda")
    stranger = Place({"app": "shop"}, "shop")

    def entered(case, who):
        release = release_of(case)
        return {c for c, pod in pods(release).items() if allows(release, who, pod, WEB)}

    every = {"registry", "scheduler", "serving", "monitor"}
    assert entered("everything", scraper) == entered("everything", proxy) == every
    assert entered("everything", keda) == entered("gpu", keda) == {"scheduler"}
    for who in (scraper, proxy, keda, stranger):
        assert entered("kind", who) == set()
    assert entered("everything", stranger) == set()


def test_clients_of_ones_own_are_let_in():
    peer = "networkPolicy.clients[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name"
    release = Release(render("--set", f"{peer}=shop", *values_of("kind")))
    found = pods(release)
    shop = Place({"app": "shop"}, "shop")
    assert {c for c, pod in found.items() if allows(release, shop, pod, WEB)} == {
        "registry",
        "scheduler",
        "serving",
        "monitor",
    }
    assert not allows(release, shop, found["postgresql"], POSTGRES)


def test_a_pod_of_the_release_that_no_policy_names_is_shut_off(release_of):
    release = release_of("kind")
    labels = {"app.kubernetes.io/name": "training-engine", "app.kubernetes.io/instance": RELEASE}
    new = Place(labels | {"app.kubernetes.io/component": "new"})
    found = pods(release)
    assert not any(allows(release, new, pod, p) for pod in found.values() for p in (WEB, REDIS))
    assert not any(allows(release, pod, new, WEB) for pod in found.values())


def test_without_policies_none_are_made(release_of):
    assert not release_of("minimal").of("NetworkPolicy")
