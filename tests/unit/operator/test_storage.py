"""Volumes never shrink, Kafka's nodes never change in number, and both are said in a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from auren_operator.components import desired_claims
from auren_operator.manifests.model import Facts, Volume
from auren_operator.manifests.storage import quantity
from tests.unit.operator.built import a_stack, build, of_kind, one, settled

STORES = ("kafka", "timescaledb", "redis", "chromadb")
GIBIBYTE = 1 << 30


def claims(component: str, facts: Facts, spec: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """(size in the claim template, notes) of a store."""
    built = build(a_stack(spec), component, facts)
    (template,) = one(built.manifests, "StatefulSet")["spec"]["volumeClaimTemplates"]
    return template["spec"]["resources"]["requests"]["storage"], built.notes


@pytest.mark.parametrize("store", STORES)
def test_a_smaller_volume_is_not_made_and_the_larger_is_reported(store: str) -> None:
    facts = settled(a_stack({store: {"storage": {"size": "30Gi"}}}))
    size, notes = claims(store, facts, {store: {"storage": {"size": "20Gi"}}})
    assert size == "30Gi"
    assert notes == ("storage stays at 30Gi: a volume cannot shrink to the 20Gi asked for",)


@pytest.mark.parametrize("store", STORES)
def test_a_shrink_hidden_in_a_smaller_size_is_seen_too(store: str) -> None:
    facts = settled(a_stack({"size": "large", "kafka": {"replicas": 1}}))
    _, notes = claims(store, facts, {"size": "small"})
    assert any("cannot shrink" in note for note in notes)


@pytest.mark.parametrize("store", STORES)
def test_a_larger_volume_is_asked_for_at_once(store: str) -> None:
    spec = {store: {"storage": {"size": "300Gi"}}}
    facts = settled(a_stack({}))
    assert claims(store, facts, spec) == ("300Gi", ())
    assert desired_claims(a_stack(spec), facts)[f"data-demo-{store}-0"] == 300 * GIBIBYTE


def test_a_storage_class_is_passed_on_and_else_left_to_the_cluster() -> None:
    for spec, wanted in (({}, None), ({"redis": {"storage": {"storageClassName": "fast"}}}, "fast")):
        (template,) = one(build(a_stack(spec), "redis").manifests, "StatefulSet")["spec"]["volumeClaimTemplates"]
        assert template["spec"].get("storageClassName") == wanted


@pytest.mark.parametrize("store", STORES)
def test_volumes_outlive_their_stateful_set(store: str) -> None:
    for policy in ("Retain", "Delete"):
        spec = one(build(a_stack({"data": {"deletionPolicy": policy}}), store).manifests, "StatefulSet")["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_three_kafka_nodes_stay_three_when_one_is_asked_for() -> None:
    facts = settled(a_stack({"kafka": {"replicas": 3}}))
    built = build(a_stack({"kafka": {"replicas": 1}}), "kafka", facts)
    assert one(built.manifests, "StatefulSet")["spec"]["replicas"] == 3
    assert built.notes == ("nodes stay 3 (asked for 1): their number is fixed at creation",)
    properties = one(built.manifests, "ConfigMap")["data"]["server.properties"]
    assert "default.replication.factor=3\n" in properties


@pytest.mark.parametrize("created", [1, 3])
def test_the_volumes_remember_the_number_when_the_stateful_set_is_gone(created: int) -> None:
    facts = settled(a_stack({"kafka": {"replicas": created}}))
    volume = Volume("uid", 10 * GIBIBYTE, created_replicas=created)
    alone = dataclasses.replace(facts, replicas={}, volumes={"data-demo-kafka-0": volume})
    built = build(a_stack({"kafka": {"replicas": 4 - created}}), "kafka", alone)
    workload = one(built.manifests, "StatefulSet")
    assert workload["spec"]["replicas"] == created
    (template,) = workload["spec"]["volumeClaimTemplates"]
    for remembered in (workload["metadata"], template["metadata"]):
        assert remembered["annotations"]["aupex.ai/created-replicas"] == str(created)


def test_a_sleeping_kafka_remembers_its_number() -> None:
    workload = one(build(a_stack({"kafka": {"replicas": 3}, "hibernated": True}), "kafka").manifests, "StatefulSet")
    assert workload["spec"]["replicas"] == 0
    assert workload["metadata"]["annotations"]["aupex.ai/created-replicas"] == "3"


def test_the_claim_template_does_not_depend_on_what_may_change() -> None:
    """It is immutable: whatever moves in it costs a re-creation of the StatefulSet."""
    plain = a_stack({"size": "large"})
    other = a_stack(
        {"size": "large", "hibernated": True, "networkPolicies": False, "images": {"overrides": {"kafka": "mine"}}}
    )
    for store in STORES:
        templates = [
            one(build(stack, store, settled(plain)).manifests, "StatefulSet")["spec"]["volumeClaimTemplates"]
            for stack in (plain, other)
        ]
        assert templates[0] == templates[1]


@pytest.mark.parametrize(
    ("size", "text"),
    [(1 << 30, "1Gi"), (1536 << 20, "1536Mi"), (1 << 40, "1Ti"), (10**9, "1000000000"), (3072, "3Ki"), (1, "1")],
)
def test_bytes_are_written_as_the_api_server_would(size: int, text: str) -> None:
    assert quantity(size) == text


def test_a_store_has_one_budget_that_lets_a_node_be_drained() -> None:
    for store in STORES:
        (budget,) = of_kind(build(a_stack({"size": "demo"}), store).manifests, "PodDisruptionBudget")
        assert budget["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in budget["spec"]
