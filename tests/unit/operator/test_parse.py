"""From a resource to a stack: what is written is taken, what is not follows from size and release."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from auren_operator.api import names
from auren_operator.api.defaults import BY_SIZE, resources
from auren_operator.api.parse import from_registry, parse
from auren_operator.api.quantity import to_bytes
from auren_operator.api.release import release_from
from auren_operator.api.spec import Autoscaling
from tests.unit.operator.built import RELEASE, SIZES, a_stack
from tests.unit.operator.spec_cases import BAD, EVERYTHING, Case
from tests.unit.operator.test_rules import ANYTHING, NEARLY


@pytest.mark.parametrize("size", SIZES)
def test_what_is_absent_follows_from_the_size(size: Any) -> None:
    stack, sized = a_stack({"size": size}), BY_SIZE[size]
    assert stack.kafka.replicas == sized.kafka_replicas
    assert stack.kafka.partitions == sized.partitions
    assert stack.timescaledb.max_connections == 50
    assert (stack.timescaledb.retention_days, stack.timescaledb.compress_after_days) == (365, 7)
    for name in ("kafka", "timescaledb", "redis", "chromadb"):
        store, expected = getattr(stack, name), getattr(sized, name)
        assert store.storage_bytes == to_bytes(expected.storage)
        assert (store.storage_class, store.resources, store.config) == (None, resources(expected.box), {})
    for name in ("neuros", "biometric", "bridge"):
        assert getattr(stack, name).resources == resources(getattr(sized, name))
    for service in (stack.neuros, stack.biometric, stack.bridge):
        assert (service.enabled, service.replicas, service.autoscaling) == (True, sized.service_replicas, None)


def test_small_is_the_size_of_a_stack_that_names_none() -> None:
    assert a_stack({}) == a_stack({"size": "small"})


def test_everything_that_is_written_is_taken() -> None:
    stack = a_stack(EVERYTHING)
    assert (stack.size, stack.paused, stack.hibernated, stack.network_policies) == ("large", True, True, False)
    assert stack.deletion_policy == "Delete"
    assert stack.images == EVERYTHING["images"]["overrides"]
    assert (stack.pull_policy, stack.pull_secrets) == ("Always", ("login", "other.login"))
    assert (stack.auth_issuer, stack.auth_audience) == ("https://id.example.com/", "auren")
    assert stack.kafka.storage_bytes == 3 << 39
    assert (stack.kafka.storage_class, stack.kafka.config) == ("fast", EVERYTHING["kafka"]["config"])
    assert stack.timescaledb.max_connections == 1000
    assert (stack.timescaledb.retention_days, stack.timescaledb.compress_after_days) == (3650, 3649)
    assert stack.redis.storage_bytes == 10**9
    neuros = stack.neuros
    assert neuros.replicas == 2
    assert neuros.env == {"AUREN_LOG_LEVEL": "debug", "_HOME": ""}
    assert neuros.resources.limits == {"cpu": "1", "memory": "1000000000", "ephemeral-storage": "2Gi"}
    assert list(neuros.tolerations) == EVERYTHING["neuros"]["tolerations"]
    for name in ("affinity", "labels", "annotations"):
        assert getattr(neuros, name) == EVERYTHING["neuros"][name]
    assert neuros.node_selector == EVERYTHING["neuros"]["nodeSelector"]
    assert neuros.priority_class_name == "system-cluster-critical"
    assert stack.biometric.autoscaling == Autoscaling(2, 2, 100)
    assert not stack.bridge.enabled


def test_autoscaling_starts_at_the_sizes_replicas_but_not_above_its_maximum() -> None:
    assert a_stack({"size": "large", "neuros": {"autoscaling": {"maxReplicas": 6}}}).neuros.replicas == 4
    assert a_stack({"size": "large", "neuros": {"autoscaling": {"maxReplicas": 3}}}).neuros.replicas == 3


@pytest.mark.parametrize(("replicas", "copies", "in_sync"), [(1, 1, 1), (3, 3, 2)])
def test_kafka_keeps_as_many_copies_as_it_has_brokers(replicas: int, copies: int, in_sync: int) -> None:
    kafka = a_stack({"kafka": {"replicas": replicas}}).kafka
    assert (kafka.replication, kafka.min_insync_replicas) == (copies, in_sync)


@pytest.mark.parametrize("case", BAD, ids=str)
def test_a_bad_spec_is_no_stack(case: Case) -> None:
    stack, violations = parse({"metadata": {"name": "demo"}, "spec": case.spec}, RELEASE)
    assert stack is None
    assert violations


def test_null_counts_as_absent() -> None:
    spec = {"size": None, "neuros": {"env": [{"name": "A", "value": None}], "autoscaling": None}, "kafka": None}
    assert a_stack(spec) == a_stack({"neuros": {"env": [{"name": "A"}]}})


def test_name_and_spec_are_both_judged() -> None:
    _, violations = parse({"metadata": {"name": "Demo"}, "spec": {"size": "huge"}}, RELEASE)
    assert len(violations) == 2


@pytest.mark.parametrize("resource", [{}, {"metadata": None}, {"metadata": {"name": "demo"}, "spec": None}])
def test_gaps_do_not_raise(resource: dict[str, Any]) -> None:
    parse(resource, RELEASE)


@given(spec=ANYTHING | NEARLY, metadata=ANYTHING)
def test_garbage_gives_violations_or_a_stack(spec: object, metadata: object) -> None:
    for meta in (metadata, {"name": "demo", "generation": metadata}):
        stack, violations = parse({"metadata": meta, "spec": spec}, RELEASE)
        assert (stack is None) == bool(violations)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("redis:8", "mirror.io/x/redis:8"),
        ("apache/kafka:4", "mirror.io/x/apache/kafka:4"),
        ("docker.io/library/redis:8", "mirror.io/x/library/redis:8"),
        ("localhost/redis", "mirror.io/x/redis"),
        ("host:5000/redis@sha256:0", "mirror.io/x/redis@sha256:0"),
    ],
)
def test_a_registry_replaces_that_of_the_release(reference: str, expected: str) -> None:
    assert from_registry(reference, "mirror.io/x") == expected
    assert from_registry(reference, "") == reference


def test_an_override_is_left_as_it_stands() -> None:
    stack = a_stack({"images": {"registry": "mirror.io", "overrides": {"redis": "docker.io/redis:9"}}})
    assert stack.images["redis"] == "docker.io/redis:9"
    assert stack.images["kafka"] == "mirror.io/apache/kafka:4.3.1"


def test_a_release_takes_its_images_from_the_environment() -> None:
    environment = {"AUREN_VERSION": "2.0", "AUREN_IMAGE_REDIS": "my/redis:1", "AUREN_IMAGE_JOBS": ""}
    release = release_from(environment, "1.0")
    assert release.version == "2.0"
    assert release.images["redis"] == "my/redis:1"
    assert release.images["jobs"] == "auren/jobs:2.0"
    assert set(release.images) == set(names.IMAGE_ENV)
    assert release_from({}, "1.0").version == "1.0"
