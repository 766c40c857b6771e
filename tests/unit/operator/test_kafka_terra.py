"""Terra's way in to Kafka: what the spec asks for, what the pods get of it, and that nothing is left of it when off."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.components.kafka_terra import TLS_DIR
from auren_operator.manifests.model import Facts, Manifest
from tests.unit.operator.built import a_stack, build, containers, environment, of_kind, one, secrets_of, settled
from tests.unit.operator.provider_cases import broker, terra
from tests.unit.operator.test_store_files import last

PROPERTIES, ADDRESSES = "terra.properties", "terra-addresses"


def changed(stack: Stack, **facts: Any) -> Facts:
    """The facts of a stack that has come up, but for these."""
    return dataclasses.replace(settled(stack), **facts)


def pod(stack: Stack, facts: Facts | None = None) -> Manifest:
    """The template of Kafka's pods."""
    found: Manifest = one(build(stack, "kafka", facts).manifests, "StatefulSet")["spec"]["template"]
    return found


def mounted(template: Manifest) -> set[str]:
    """Where something is mounted."""
    return {mount["mountPath"] for mount in template["spec"]["containers"][0]["volumeMounts"]}


def passwords(template: Manifest) -> dict[str, str]:
    """File in the directory of Secrets → the Secret that it comes from."""
    (volume,) = (volume for volume in template["spec"]["volumes"] if volume["name"] == "secrets")
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    return {item["path"]: source["name"] for source in sources for item in source["items"]}


def ways(stack: Stack, facts: Facts | None = None) -> dict[str, Manifest]:
    """Terra's Services by name."""
    services = of_kind(build(stack, "kafka", facts).manifests, "Service")
    return {service["metadata"]["name"]: service for service in services if "terra" in service["metadata"]["name"]}


def off(**bridge: Any) -> dict[str, Any]:
    """The spec with the destination on, and the bridge changed."""
    asked = terra()
    return {**asked, "bridge": {**asked["bridge"], **bridge}}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        off(enabled=False),
        off(providers={"terra": {**terra()["bridge"]["providers"]["terra"], "enabled": False}}),
        terra(enabled=False),
    ],
    ids=["never asked for", "the bridge is off", "Terra is off", "it is off"],
)
def test_where_it_is_off_nothing_is_left_of_it(spec: dict[str, Any]) -> None:
    stack = a_stack({**spec, "size": "demo"})
    script = {"start.sh": None}
    plain = build(a_stack({"size": "demo"}), "kafka").manifests
    assert build(stack, "kafka").manifests == plain
    assert "terra" not in str([m if m["kind"] != "ConfigMap" else {**m["data"], **script} for m in plain]).lower()
    assert [secret.name for secret in secrets_of(stack) if "terra" in secret.name] == []


def test_the_pods_get_the_certificate_and_a_password_that_the_operator_makes() -> None:
    stack = a_stack(terra())
    template = pod(stack)
    (volume,) = (volume for volume in template["spec"]["volumes"] if volume["name"] == "terra-tls")
    assert volume["secret"]["secretName"] == "t"
    assert volume["secret"]["optional"] is True, "one that goes must not keep a broker from starting"
    assert [item["key"] for item in volume["secret"]["items"]] == ["tls.crt", "tls.key"]
    assert TLS_DIR in mounted(template)
    assert passwords(template)["terra-password"] == "demo-kafka-terra"
    (secret,) = (secret for secret in secrets_of(stack) if secret.name == "demo-kafka-terra")
    assert (secret.component, secret.keys, secret.guards_data) == ("kafka", {"password": "password"}, False)


@pytest.mark.parametrize("lacking", ["given", "secrets"])
def test_until_both_are_there_the_pods_are_as_without_and_run(lacking: str) -> None:
    stack = a_stack(terra())
    facts = settled(stack)
    secrets = {name: value for name, value in facts.secrets.items() if name != "demo-kafka-terra"}
    without = changed(stack, **({"secrets": secrets} if lacking == "secrets" else {"given": {}}))
    built = build(stack, "kafka", without)
    assert built.withheld == ()
    template = pod(stack, without)
    assert TLS_DIR not in mounted(template)
    assert set(passwords(template)) == {"cluster-id", "admin-password"}
    assert names.ANNOTATION_TERRA_HASH not in template["metadata"]["annotations"]
    assert set(ways(stack, without)) == {"demo-kafka-terra-0"}, "its address takes time to come, and stays"


@pytest.mark.parametrize("what", ["given", "secrets"])
def test_a_renewed_certificate_and_a_rotated_password_roll_the_brokers_and_nothing_else(what: str) -> None:
    stack = a_stack(terra())
    facts = settled(stack)
    name = {"given": "t", "secrets": "demo-kafka-terra"}[what]
    renewed = changed(stack, **{what: {**getattr(facts, what), name: "another"}})
    old, new = build(stack, "kafka", facts).manifests, build(stack, "kafka", renewed).manifests
    differing = [before["kind"] for before, after in zip(old, new, strict=True) if before != after]
    assert differing == ["StatefulSet"]
    before, after = (pod(stack, f)["metadata"]["annotations"][names.ANNOTATION_TERRA_HASH] for f in (facts, renewed))
    assert before != after


def test_brokers_are_told_their_own_addresses_whatever_the_order_in_the_spec() -> None:
    named = [broker(2, port=9096), broker(0, host="198.51.100.7"), broker(1)]
    config = one(build(a_stack(terra("large", brokers=named)), "kafka").manifests, "ConfigMap")["data"]
    assert config[ADDRESSES].splitlines() == [
        "198.51.100.7:9094",
        "kafka-1.example.com:9094",
        "kafka-2.example.com:9096",
    ]


def test_only_the_new_listener_is_added_and_its_user_is_the_only_one() -> None:
    config = one(build(a_stack(terra()), "kafka").manifests, "ConfigMap")["data"]
    plain, added = last(config["server.properties"], "="), last(config[PROPERTIES], "=")
    for setting in ("listeners", "listener.security.protocol.map"):
        assert added[setting].startswith(plain[setting] + ",TERRA:")
    own = {key for key in added if key.startswith("listener.name.terra.")}
    assert added.keys() - own == {
        "listeners",
        "listener.security.protocol.map",
        "config.providers.secret.param.allowed.paths",
    }
    jaas = added["listener.name.terra.plain.sasl.jaas.config"]
    assert jaas.count("user_") == 1
    assert "user_terra=" in jaas
    assert added["listener.name.terra.sasl.enabled.mechanisms"] == "PLAIN"


def test_each_broker_has_a_service_of_its_own() -> None:
    asked = terra(
        "large",
        brokers=[broker(0, nodePort=30094), broker(1, port=443), broker(2, annotations={"x": "2"})],
        service={"type": "NodePort", "annotations": {"x": "all", "y": "all"}},
    )
    found = ways(a_stack(asked))
    assert list(found) == [f"demo-kafka-terra-{number}" for number in range(3)]
    assert {service["spec"]["type"] for service in found.values()} == {"NodePort"}
    for number, service in enumerate(found.values()):
        assert service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] == f"demo-kafka-{number}"
    first, second, third = (service["spec"]["ports"][0] for service in found.values())
    assert (first["port"], first["nodePort"], first["targetPort"]) == (9094, 30094, "terra")
    assert (second["port"], "nodePort" in second, third["port"]) == (443, False, 9094)
    annotations = [service["metadata"]["annotations"] for service in found.values()]
    assert annotations == [{"x": "all", "y": "all"}] * 2 + [{"x": "2", "y": "all"}]


def test_its_port_is_there_for_the_services_to_lead_to() -> None:
    ((_, container),) = containers([one(build(a_stack(terra()), "kafka").manifests, "StatefulSet")])
    assert {"name": "terra", "containerPort": 9094} in container["ports"]
    assert ways(a_stack(terra()))["demo-kafka-terra-0"]["spec"]["type"] == "LoadBalancer"


def test_with_fewer_addresses_than_brokers_it_is_off_and_says_which_are_missing() -> None:
    stack = a_stack(terra())
    facts = changed(stack, replicas={"demo-kafka": 3})
    built = build(stack, "kafka", facts)
    assert any("Terra's Kafka destination is off" in note and "no broker 1, 2" in note for note in built.notes)
    assert TLS_DIR not in mounted(pod(stack, facts))
    assert PROPERTIES not in one(built.manifests, "ConfigMap")["data"]


@pytest.mark.parametrize(
    ("spec", "told"), [(terra(), "true"), ({"size": "demo"}, "false"), (off(enabled=False), "false")]
)
def test_the_topics_job_is_told_and_is_another_one(spec: dict[str, Any], told: str) -> None:
    job, plain = (one(build(a_stack(one_spec), "topics").manifests, "Job") for one_spec in (spec, {"size": "demo"}))
    ((_, container),) = containers([job])
    assert environment(container)[names.ENV_KAFKA_TERRA] == told
    assert (job["metadata"]["name"] == plain["metadata"]["name"]) == (told == "false")
