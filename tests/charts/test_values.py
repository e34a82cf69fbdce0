"""The values, their schema and their README say the same, and what they don't know is refused."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from charts import readme
from tests.charts.helm import CASES, CHART, template

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
# Helm 3 knows draft 7, and passes over what came later without a word.
LATER = {"$defs", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "prefixItems"}


def resolve(schema):
    return SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def schema_keys(schema, prefix=""):
    """The paths of all keys that the schema names."""
    for name, part in resolve(schema).get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from schema_keys(part, f"{prefix}{name}.")


def value_keys(values, schema, prefix=""):
    """The paths of all keys in the values; where the schema names none, keys are the user's own."""
    for name, part in values.items():
        yield f"{prefix}{name}"
        known = resolve(schema)["properties"][name]
        if isinstance(part, dict) and "properties" in resolve(known):
            yield from value_keys(part, known, f"{prefix}{name}.")


def objects(schema):
    """Every part of the schema that describes an object with named keys."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def words(schema):
    if isinstance(schema, dict):
        yield from schema
        schema = schema.values()
    if not isinstance(schema, str | int | float | bool | None):
        for part in schema:
            yield from words(part)


def test_the_schema_names_the_keys_of_the_values_and_no_others():
    assert sorted(schema_keys(SCHEMA)) == sorted(value_keys(VALUES, SCHEMA))


def test_every_object_of_the_schema_is_closed_and_of_draft_7():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert all(part["additionalProperties"] is False for part in objects(SCHEMA))
    assert not LATER & set(words(SCHEMA))


def test_the_defaults_and_every_case_fit_the_schema():
    check = jsonschema.Draft7Validator(SCHEMA)
    for case in CASES:
        check.validate(yaml.safe_load((CHART / "ci" / f"{case}-values.yaml").read_text()))
    check.validate(VALUES)
    assert {path.name for path in CHART.glob("ci/*")} == {f"{case}-values.yaml" for case in CASES}


def test_every_key_has_a_comment_and_the_readme_is_made_from_them():
    every = list(readme.keys((CHART / "values.yaml").read_text()))
    assert all(key.comment for key in every)
    assert (CHART / "README.md").read_text() == readme.readme(), "run: python charts/readme.py"


def test_a_key_without_a_comment_is_found():
    (_, bare) = readme.keys("first: 1  # Of two.\nsecond: 2\n")
    assert (bare.path, bare.comment) == ("second", "")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("registry.replica=2", "replica"),
        ("image.tag=latest", "tag"),
        ("logLevel=LOUD", "logLevel"),
        ("postgresql.enabled=false", "existingSecret"),
        ("redis.enabled=false", "existingSecret"),
        ("gateway.enabled=true", "parentRefs"),
        ("trainers.pools.GPU.gpus=1", "GPU"),
        ("trainers.pools.cpu.gpu=1", "gpu"),
        ("trainers.pools.cpu.queues={cooking}", "queues"),
        ("trainers.pools.cpu=null", "pools"),
        ("registry.resources.limits.memory=lots", "memory"),
        ("registry.image.digest=sha256:1", "digest"),
        ("registry.replicas=2", "set registry.store.url, or persistence.accessModes"),
        ("scheduler.autoscaling.enabled=true", "set scheduler.persistence.accessModes"),
        (
            "trainers.pools.cpu.keda.enabled=true,trainers.pools.cpu.keda.cooldownSeconds=60",
            "trainers.pools.cpu: keda.cooldownSeconds is 60, at least the grace period of 120",
        ),
        ("trainers.pools.cpu.nodes=0", "nodes"),
        (
            "trainers.pools.cpu.nodes=2,trainers.pools.cpu.keda.enabled=true",
            "trainers.pools.cpu: keda.enabled is true with nodes 2, allowed is false",
        ),
        (
            "trainers.pools.cpu.nodes=2,trainers.pools.cpu.replicas=3",
            "trainers.pools.cpu: replicas is 3 with nodes 2, allowed is 1 or 0",
        ),
        (
            "trainers.pools.eight-nodes-of-each.nodes=8,fullnameOverride=training-of-the-whole-house",
            "may have 52 characters; shorten the pool's or the release's",
        ),
    ],
)
@pytest.mark.parametrize("major", [3, 4])
def test_what_can_not_work_is_refused_with_the_place(setting, reason, major):
    done = template("--set", setting, major=major)
    assert done.returncode != 0
    assert reason in done.stderr
