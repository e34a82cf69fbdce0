"""Rendered objects, and the questions that tests ask of them."""

from __future__ import annotations

from dataclasses import dataclass

WORKLOADS = ("Deployment", "StatefulSet", "Job", "Pod")


@dataclass(frozen=True)
class Workload:
    """Pods of one kind, with the labels and the spec that each has."""

    kind: str
    name: str
    labels: dict
    spec: dict
    document: dict

    @property
    def component(self):
        return self.labels["app.kubernetes.io/component"]

    @property
    def containers(self):
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def is_service(self):
        """True where its pods run until they are told to go."""
        return self.kind in {"Deployment", "StatefulSet"}

    @property
    def secrets(self):
        """The keys of each secret that its pods are given."""
        found = {}
        for volume in self.spec.get("volumes", []):
            parts = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
            if "secret" in volume:
                parts.append(volume["secret"] | {"name": volume["secret"]["secretName"]})
            for part in parts:
                found.setdefault(part["name"], set()).update(i["key"] for i in part["items"])
        return found


class Release:
    """All objects of one rendering."""

    def __init__(self, documents):
        self.documents = documents

    def of(self, *kinds):
        return [document for document in self.documents if document["kind"] in kinds]

    def names(self, kind):
        return {document["metadata"]["name"] for document in self.of(kind)}

    def named(self, kind, suffix):
        """The one object of a kind whose name ends so."""
        (found,) = [d for d in self.of(kind) if d["metadata"]["name"].endswith(suffix)]
        return found

    @property
    def workloads(self):
        return [workload_of(document) for document in self.of(*WORKLOADS)]

    def workload(self, component):
        """The one workload of a component."""
        (found,) = [workload for workload in self.workloads if workload.component == component]
        return found

    def selected(self, selector):
        """The components whose pods a label selector chooses."""
        return {w.component for w in self.workloads if matches(selector, w.labels)}

    @property
    def secret_contents(self):
        """What each secret that the release makes holds."""
        return {d["metadata"]["name"]: dict(d["stringData"]) for d in self.of("Secret")}

    @property
    def secret_keys(self):
        """The keys of each secret that the release itself makes."""
        return {d["metadata"]["name"]: set(d["stringData"]) for d in self.of("Secret")}


def workload_of(document):
    """A workload's pods."""
    kind, name = document["kind"], document["metadata"]["name"]
    pod = document if kind == "Pod" else document["spec"]["template"]
    return Workload(kind, name, pod["metadata"]["labels"], pod["spec"], document)


def matches(selector, labels):
    """Kubernetes' rule: every label and every expression; an empty selector chooses all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        value, values = labels.get(expression["key"]), expression.get("values", [])
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[expression["operator"]]
        if not holds:
            return False
    return True
