"""The CRD as a file: it says the same as `api/rules.py`, teaches, and stays within the API server's bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from auren_operator.api import defaults, names, reserved, schema
from auren_operator.api.parse import parse
from auren_operator.api.pools import LEAST_PER_POD, RESERVED_CONNECTIONS, SURGE
from auren_operator.api.release import release_from
from auren_operator.api.rules import NAME_SENTENCE, SPEC
from auren_operator.api.status import ComponentStatus, Condition, Healed, HealedChild, StackStatus

REPOSITORY = Path(__file__).resolve().parents[3]
CRD: dict[str, Any] = yaml.safe_load((REPOSITORY / "crds/aurenstacks.aupex.ai.yaml").read_text())
VERSION = CRD["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]
SPEC_SCHEMA = ROOT["properties"]["spec"]
STATUS_SCHEMA = ROOT["properties"]["status"]


def rules_of(node: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = node.get("x-kubernetes-validations", [])
    return found


def differences(path: str, node: schema.Node, crd: dict[str, Any]) -> Iterator[str]:
    """What the two descriptions of one field do not agree in."""
    told = {rule.sentence for rule in (*getattr(node, "rules", ()), *getattr(node, "transitions", ()))}
    if told != {rule["message"] for rule in rules_of(crd)}:
        yield f"{path}: rules"
    if shape_of(node) != shape_in(crd):
        yield f"{path}: {shape_of(node)} against {shape_in(crd)}"
    if isinstance(node, schema.Fields):
        if set(node.fields) != set(crd.get("properties", {})):
            yield f"{path}: fields"
        for key in node.fields.keys() & crd.get("properties", {}).keys():
            yield from differences(f"{path}.{key}", node.fields[key], crd["properties"][key])
    elif isinstance(node, schema.Items):
        yield from differences(f"{path}[]", node.item, crd["items"])
    elif isinstance(node, schema.Entries):
        yield from differences(f"{path}.*", node.value, crd["additionalProperties"])


def shape_of(node: schema.Node) -> tuple[Any, ...]:
    """Type and bounds as `rules` has them."""
    match node:
        case schema.Boolean():
            return ("boolean",)
        case schema.Integer(one_of=few) if few:
            return ("integer", list(few))
        case schema.Integer(minimum=low, maximum=high):
            return ("integer", low, high)
        case schema.Text(one_of=few) if few:
            return ("string", list(few))
        case schema.Text(longest=longest, shortest=shortest):
            return ("string", shortest, longest)
        case schema.IntOrText(longest=longest):
            return ("int-or-string", longest)
        case schema.Items(most=most, key=key):
            return ("array", most, key)
        case schema.Entries(most=most):
            return ("map", most)
        case schema.Fields(required=required):
            return ("object", set(required))
    raise AssertionError(node)


def shape_in(crd: dict[str, Any]) -> tuple[Any, ...]:
    """Type and bounds as the CRD has them."""
    if crd.get("x-kubernetes-int-or-string"):
        return ("int-or-string", crd["maxLength"])
    kind = crd["type"]
    if "enum" in crd:
        return (kind, crd["enum"])
    if kind == "integer":
        return (kind, crd.get("minimum", -(2**63)), crd.get("maximum", 2**63 - 1))
    if kind == "string":
        return (kind, crd.get("minLength", 0), crd["maxLength"])
    if kind == "array":
        keyed = crd["x-kubernetes-list-type"] == "map"
        return (kind, crd["maxItems"], crd["x-kubernetes-list-map-keys"][0] if keyed else "")
    if "additionalProperties" in crd:
        return ("map", crd["maxProperties"])
    return ("object", set(crd.get("required", ()))) if kind == "object" else (kind,)


def fields(path: str, crd: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every named field of a schema, with its path."""
    for key, child in crd.get("properties", {}).items():
        yield f"{path}.{key}", child
        yield from fields(f"{path}.{key}", child)
    for inside in (crd.get("items"), crd.get("additionalProperties")):
        if isinstance(inside, dict):
            yield from fields(f"{path}[]", inside)


def test_schema_and_rules_describe_the_same_spec() -> None:
    assert list(differences("spec", SPEC, SPEC_SCHEMA)) == []


def test_the_name_has_the_same_rule() -> None:
    assert [rule["message"] for rule in rules_of(ROOT)] == [NAME_SENTENCE]


def test_every_field_has_a_description() -> None:
    assert [path for path, field in fields("", ROOT) if "description" not in field and path != ".metadata"] == []


def test_every_rule_has_a_sentence() -> None:
    everything = [("", ROOT), ("spec", SPEC_SCHEMA), *fields("", ROOT)]
    assert [path for path, node in everything for rule in rules_of(node) if not rule.get("message")] == []


def test_every_parent_is_there_when_it_was_left_out() -> None:
    parents = [
        (path, node)
        for path, node in fields("spec", SPEC_SCHEMA)
        if any("default" in child for child in node.get("properties", {}).values())
    ]
    optional = {f"spec.{name}.autoscaling" for name in ("neuros", "biometric", "bridge")}
    optional.add("spec.timescaledb.external")
    assert [path for path, node in parents if node.get("default") != {} and path not in optional] == []


def test_defaults_are_those_that_an_empty_spec_resolves_to() -> None:
    def filled(crd: dict[str, Any]) -> dict[str, Any]:
        values = {}
        for key, child in crd["properties"].items():
            if "default" in child:
                values[key] = filled(child) if child["type"] == "object" else child["default"]
        return values

    release = release_from({}, "1.0")
    resource = {"metadata": {"name": "demo", "namespace": "auren", "uid": "u"}}
    written, _ = parse(resource | {"spec": filled(SPEC_SCHEMA)}, release)
    assert written is not None
    assert parse(resource | {"spec": {}}, release) == (written, ())


def test_nothing_is_kept_that_the_schema_does_not_know() -> None:
    assert "x-kubernetes-preserve-unknown-fields" not in json.dumps(CRD)


def test_it_is_small_enough_for_an_annotation_of_kubectl() -> None:
    assert len(json.dumps(CRD)) < 256 * 1024


def test_names_agree() -> None:
    assert (CRD["spec"]["group"], VERSION["name"]) == (names.GROUP, names.VERSION)
    assert CRD["metadata"]["name"] == f"{names.PLURAL}.{names.GROUP}"
    assert CRD["spec"]["names"]["kind"] == names.KIND
    assert set(SPEC_SCHEMA["properties"]["images"]["properties"]["overrides"]["properties"]) == set(names.IMAGE_ENV)


def quoted(rule: str) -> set[str]:
    return set(re.findall(r"'([^']*)'", rule))


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("kafka", {*reserved.KAFKA, *reserved.KAFKA_PREFIXES}),
        ("timescaledb", {*reserved.TIMESCALEDB, *reserved.TIMESCALEDB_PREFIXES}),
        ("redis", {*reserved.REDIS, *reserved.REDIS_PREFIXES}),
    ],
)
def test_reserved_settings_agree(store: str, expected: set[str]) -> None:
    rules = rules_of(SPEC_SCHEMA["properties"][store]["properties"]["config"])
    assert quoted(rules[1]["rule"]) == expected


def test_reserved_variables_agree() -> None:
    name = SPEC_SCHEMA["properties"]["neuros"]["properties"]["env"]["items"]["properties"]["name"]
    assert quoted(rules_of(name)[1]["rule"]) == set(names.RESERVED_ENVIRONMENT)


def test_the_rule_about_connections_knows_the_sizes() -> None:
    rule = rules_of(SPEC_SCHEMA)[0]["rule"]
    replicas = {size: sized.service_replicas for size, sized in defaults.BY_SIZE.items()}
    table = ", ".join(f"'{size}': {count}" for size, count in replicas.items())
    assert rule.count(f"{{{table}}}[self.size]") == 3
    assert rule.startswith(f"self.timescaledb.maxConnections >= {RESERVED_CONNECTIONS} ")
    for service, least in LEAST_PER_POD.items():
        assert f"(!self.{service}.enabled ? 0 : {least * SURGE} + {least} * " in rule


def test_the_status_that_the_operator_writes_is_in_the_schema() -> None:
    status = StackStatus(
        observed_generation=1,
        version="1.0",
        conditions=(Condition("Ready", "True", "AllReady", "All.", "2026-01-01T00:00:00Z", 1),),
        components=(
            ComponentStatus(
                "kafka", "Waiting", "0/1", "Starting", "2026-01-01T00:00:00Z", "m", ("redis",), "4.3.1", {"a": "u"}
            ),
        ),
        components_ready="0/1",
        endpoints={"kafka": "kafka:9092"},
        healed=Healed(1, HealedChild("Service", "demo-kafka", "2026-01-01T00:00:00Z")),
    )
    assert unknown(status.as_dict(), STATUS_SCHEMA) == []
    assert set(status.as_dict()) == set(STATUS_SCHEMA["properties"])


def unknown(value: Any, crd: dict[str, Any], path: str = "status") -> list[str]:
    """Paths in ``value`` that the schema does not know."""
    if crd["type"] == "array":
        return [found for item in value for found in unknown(item, crd["items"], f"{path}[]")]
    if "properties" not in crd:
        return []
    stray = [f"{path}.{key}" for key in value if key not in crd["properties"]]
    known = value.keys() & crd["properties"].keys()
    return stray + [found for key in known for found in unknown(value[key], crd["properties"][key], f"{path}.{key}")]


SAMPLES = sorted((REPOSITORY / "manifests/samples").glob("*.yaml"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_are_valid(sample: Path) -> None:
    resource = yaml.safe_load(sample.read_text())
    assert (resource["apiVersion"], resource["kind"]) == (names.API_VERSION, names.KIND)
    stack, violations = parse(resource, release_from({}, "1.0"))
    assert violations == ()
    assert stack is not None


def test_there_are_samples() -> None:
    assert {sample.name for sample in SAMPLES} >= {"demo.yaml", "small.yaml", "production.yaml"}
