"""What holds for everything that is built, whatever the spec says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auren_operator.api import names
from auren_operator.api.parse import parse
from auren_operator.api.quantity import quantity
from auren_operator.components import MODULES, component_names_with_rows, desired_claims
from auren_operator.manifests.model import Facts, Manifest
from tests.unit.operator.built import (
    RELEASE,
    SIZES,
    a_stack,
    build,
    containers,
    environment,
    everything,
    of_kind,
    one,
    secrets_of,
    settled,
    workloads,
)

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FOUR_GIGABYTES = 4 * 10**9
OPERATOR_CPU = 2 * quantity("25m")
"""Two replicas with the chart's request."""

LONGEST_NAME = "a-stack-of-thirty-characters-x"

TERRA_KAFKA = {
    "tls": st.just({"name": "mine"}),
    "brokers": st.just([{"broker": number, "host": f"kafka-{number}"} for number in range(3)]),
}

service = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "replicas": st.integers(1, 4),
        "env": st.just([{"name": "AUREN_LOG_LEVEL", "value": "DEBUG"}]),
        "labels": st.just({"team": "people"}),
        "annotations": st.just({"note": "mine"}),
        "nodeSelector": st.just({"disk": "fast"}),
        "tolerations": st.just([{"key": "dedicated", "operator": "Exists"}]),
        "priorityClassName": st.just("high"),
    },
) | st.fixed_dictionaries({"autoscaling": st.fixed_dictionaries({"maxReplicas": st.integers(2, 4)})})
providers = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries(
            {"enabled": st.booleans(), "credentials": st.just({"name": "mine"})},
            optional={"windowSeconds": st.integers(1, 86400)},
        )
        for name in ("oura", "whoop")
    }
    | {
        "terra": st.fixed_dictionaries(
            {"enabled": st.booleans(), "credentials": st.just({"name": "mine"})},
            optional={"kafka": st.fixed_dictionaries({"enabled": st.booleans(), **TERRA_KAFKA})},
        ),
    }
    | {"healthkit": st.fixed_dictionaries({"enabled": st.booleans()})},
)
bridge = st.builds(lambda common, asked: common | {"publicURL": "https://b", "providers": asked}, service, providers)
storage = st.fixed_dictionaries({"size": st.sampled_from(["1Gi", "1500Mi", "10G", "1Ti"])})
specs = st.fixed_dictionaries(
    {"size": st.sampled_from(SIZES)},
    optional={
        "hibernated": st.booleans(),
        "networkPolicies": st.booleans(),
        "neuros": service,
        "biometric": service,
        "bridge": bridge,
        "kafka": st.fixed_dictionaries(
            {},
            optional={
                "replicas": st.sampled_from([1, 3]),
                "storage": storage,
                "config": st.just({"log.retention.hours": "24"}),
            },
        ),
        "timescaledb": st.fixed_dictionaries(
            {"maxConnections": st.integers(90, 300)}, optional={"storage": storage, "config": st.just({"jit": "off"})}
        ),
        "redis": st.fixed_dictionaries({}, optional={"config": st.just({"maxmemory-policy": "volatile-ttl"})}),
    },
)
stacks = st.builds(a_stack, specs, st.sampled_from(["ab", "auren", LONGEST_NAME]))


@given(stacks)
@settings(max_examples=60, deadline=None)
def test_every_child_says_whose_it_is_and_can_be_named(stack: Any) -> None:
    manifests = everything(stack)
    owner = {
        "apiVersion": "aupex.ai/v1alpha1",
        "kind": "AurenStack",
        "name": stack.name,
        "uid": stack.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    for manifest in manifests:
        metadata = manifest["metadata"]
        assert metadata["ownerReferences"] == [owner]
        assert metadata["namespace"] == stack.namespace
        assert DNS_LABEL.fullmatch(metadata["name"]), metadata["name"]
        assert metadata["name"].startswith(f"{stack.name}-")
        assert names.LABELS.keys() <= metadata["labels"].keys()
        assert metadata["labels"][names.LABEL_STACK] == stack.name
    keys = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(keys) == len(set(keys))


@given(stacks)
@settings(max_examples=60, deadline=None)
def test_pods_and_claims_carry_the_labels_that_select_them(stack: Any) -> None:
    manifests = everything(stack)
    for workload in workloads(manifests):
        pods = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["metadata"]["labels"].items() <= pods.items()
        selector = workload["spec"].get("selector", {"matchLabels": {}})["matchLabels"]
        assert selector.items() <= pods.items()
        for claim in workload["spec"].get("volumeClaimTemplates", ()):
            assert claim["metadata"]["labels"] == workload["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        for manifest in of_kind(manifests, kind):
            selector = dict(manifest["spec"]["selector"])
            if pod := selector.pop("statefulset.kubernetes.io/pod-name", ""):
                assert pod.rpartition("-")[0] == f"{stack.name}-kafka"
            assert selector.get("matchLabels", selector) == {
                key: manifest["metadata"]["labels"][key] for key in (names.LABEL_STACK, names.LABEL_COMPONENT)
            }


@given(stacks)
@settings(max_examples=60, deadline=None)
def test_containers_are_bounded_and_well_formed(stack: Any) -> None:
    for workload, container in containers(everything(stack)):
        name = workload["metadata"]["name"]
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert quantity(limits["memory"]) <= FOUR_GIGABYTES, name
        assert all(quantity(requests[what]) <= quantity(limits[what]) for what in ("cpu", "memory")), name
        assert container["image"] in stack.images.values()
        assert container["command"], name
        variables = [variable["name"] for variable in container.get("env", ())]
        assert all(VARIABLE.fullmatch(variable) for variable in variables)
        assert len(variables) == len(set(variables)), name
        assert all(PORT_NAME.fullmatch(port["name"]) for port in container.get("ports", ()))
        volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"]["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes, name


@given(stacks)
@settings(max_examples=60, deadline=None)
def test_every_mounted_secret_is_one_that_the_operator_generates(stack: Any) -> None:
    generated = {secret.name: set(secret.keys) for secret in secrets_of(stack)}
    for workload in workloads(everything(stack)):
        for name, key in mounted(workload):
            assert key in generated[name], f"{workload['metadata']['name']} mounts {name}/{key}"


def mounted(workload: Manifest) -> set[tuple[str, str]]:
    """(Secret, key) of every file that a workload's pods mount."""
    return {
        (source["secret"]["name"], item["key"])
        for volume in workload["spec"]["template"]["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    }


@given(stacks)
@settings(max_examples=60, deadline=None)
def test_every_service_port_leads_to_a_container(stack: Any) -> None:
    manifests = everything(stack)
    open_ports = {
        (workload["metadata"]["labels"][names.LABEL_COMPONENT], port["name"]): port["containerPort"]
        for workload, container in containers(manifests)
        for port in container.get("ports", ())
    }
    for manifest in of_kind(manifests, "Service"):
        for port in manifest["spec"]["ports"]:
            component = manifest["metadata"]["labels"][names.LABEL_COMPONENT]
            assert open_ports[component, port["targetPort"]] == port["port"]


@given(stacks)
@settings(max_examples=30, deadline=None)
def test_building_is_pure(stack: Any) -> None:
    first = json.dumps(everything(stack))
    for manifest in everything(stack):
        destroy(manifest)
    assert json.dumps(everything(stack)) == first


def destroy(value: Any) -> None:
    """Empty all mappings and lists within: what is built must not be shared with what is built next."""
    for inner in list(value.values() if isinstance(value, dict) else value):
        if isinstance(inner, dict | list):
            destroy(inner)
    value.clear()


@given(stacks)
@settings(max_examples=30, deadline=None)
def test_a_sleeping_stack_has_no_pods_and_else_as_many_as_asked(stack: Any) -> None:
    for workload in workloads(everything(stack)):
        if workload["kind"] != "Job":
            assert (workload["spec"]["replicas"] == 0) == stack.hibernated


def cpu(workload: Manifest) -> Any:
    """Requested by one pod."""
    pod = workload["spec"]["template"]["spec"]["containers"]
    return sum(quantity(container["resources"]["requests"]["cpu"]) for container in pod)


def test_demo_requests_at_most_700m_with_operator_jobs_and_a_surge_pod() -> None:
    found = workloads(everything(a_stack({"size": "demo"})))
    running = sum(cpu(workload) * workload["spec"].get("replicas", 1) for workload in found)
    surge = max(cpu(workload) for workload in found if workload["kind"] == "Deployment")
    assert running + surge + OPERATOR_CPU <= quantity("700m")


def test_components_start_in_an_order_in_which_each_finds_what_it_needs() -> None:
    before: set[str] = set()
    for module in MODULES:
        assert set(module.COMPONENT.needs) <= before, module.COMPONENT.name
        before.add(module.COMPONENT.name)
    assert component_names_with_rows == (
        "kafka",
        "timescaledb",
        "redis",
        "chromadb",
        "local-model",
        "neuros-advanced",
        "biometric-production",
        "biometric-bridge",
    )


@pytest.mark.parametrize("module", [module for module in MODULES if module.COMPONENT.workload != "Job"])
def test_a_component_that_lacks_a_secret_is_built_without_its_workload_and_says_so(module: Any) -> None:
    stack = a_stack({})
    whole, without = module.build(stack, settled(stack)), module.build(stack, Facts())
    kinds = {manifest["kind"] for manifest in whole.manifests} - {manifest["kind"] for manifest in without.manifests}
    needs_secrets = any(mounted(workload) for workload in workloads(whole.manifests))
    assert kinds == ({module.COMPONENT.workload} if needs_secrets else set())
    assert without.withheld == (tuple(kinds))
    assert whole.withheld == ()


@pytest.mark.parametrize("name", ["neuros", "biometric", "bridge"])
def test_a_service_that_is_switched_off_leaves_nothing_but_its_passwords(name: str) -> None:
    off, on = a_stack({name: {"enabled": False}}), a_stack({})
    gone = {id(module) for module in MODULES if build(on, module.COMPONENT.name).manifests} - {
        id(module) for module in MODULES if build(off, module.COMPONENT.name).manifests
    }
    assert len(gone) == 1
    assert [secret.name for secret in secrets_of(off)] == [secret.name for secret in secrets_of(on)]


def test_only_the_pods_that_mount_a_secret_roll_when_it_is_rotated() -> None:
    stack = a_stack({})
    facts = settled(stack)
    rotated = Facts({**facts.secrets, "demo-redis": "another"}, facts.volumes, facts.replicas)
    old, new = everything(stack, facts), everything(stack, rotated)
    changed = {after["metadata"]["name"] for before, after in zip(old, new, strict=True) if before != after}
    assert changed == {"demo-redis", "demo-neuros-advanced", "demo-biometric-production", "demo-biometric-bridge"}


def test_a_changed_file_rolls_its_store() -> None:
    old, new = a_stack({}), a_stack({"redis": {"config": {"maxmemory-policy": "volatile-ttl"}}})
    annotations = [
        one(build(stack, "redis").manifests, "StatefulSet")["spec"]["template"]["metadata"]["annotations"]
        for stack in (old, new)
    ]
    assert annotations[0][names.ANNOTATION_CONFIG_HASH] != annotations[1][names.ANNOTATION_CONFIG_HASH]


def test_the_signing_key_is_mounted_nowhere() -> None:
    keys = {key for workload in workloads(everything(a_stack({}))) for _, key in mounted(workload)}
    assert "jwks.json" in keys
    assert "private.pem" not in keys


def test_people_cannot_take_a_label_or_variable_of_ours() -> None:
    metadata = {"name": "demo", "namespace": "people", "uid": "u", "generation": 1}
    for mine in ({"labels": {names.LABEL_STACK: "x"}}, {"env": [{"name": names.ENV_KAFKA_USERNAME, "value": "x"}]}):
        assert parse({"metadata": metadata, "spec": {"neuros": mine}}, RELEASE)[0] is None


def test_what_people_ask_for_reaches_the_pods() -> None:
    wanted = {
        "labels": {"team": "people"},
        "annotations": {"note": "mine"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "env": [{"name": "AUREN_LOG_LEVEL", "value": "DEBUG"}],
    }
    stack = a_stack({"bridge": wanted, "images": {"pullPolicy": "Always"}})
    template = one(build(stack, "biometric-bridge").manifests, "Deployment")["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "people"
    assert template["metadata"]["annotations"]["note"] == "mine"
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert template["spec"][field] == wanted[field], field
    for container in template["spec"]["containers"]:
        assert environment(container)["AUREN_LOG_LEVEL"] == "DEBUG"
        assert container["imagePullPolicy"] == "Always"


def test_an_autoscaler_is_made_only_where_asked_for() -> None:
    assert of_kind(everything(a_stack({})), "HorizontalPodAutoscaler") == []
    asked = {"minReplicas": 2, "maxReplicas": 6, "targetCPUUtilizationPercentage": 50}
    built = build(a_stack({"neuros": {"autoscaling": asked}}), "neuros-advanced").manifests
    spec = one(built, "HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert spec["scaleTargetRef"]["name"] == one(built, "Deployment")["metadata"]["name"]
    assert one(built, "Deployment")["spec"]["replicas"] == 2


def test_pods_spread_only_where_there_are_several() -> None:
    demo, large = a_stack({"size": "demo"}), a_stack({"size": "large"})
    for stack, wanted in ((demo, False), (large, True)):
        for component in ("kafka", "neuros-advanced"):
            (workload,) = workloads(build(stack, component).manifests)
            assert ("topologySpreadConstraints" in workload["spec"]["template"]["spec"]) == wanted


def test_claims_are_those_that_the_stateful_sets_make() -> None:
    stack = a_stack({"size": "large"})
    made = {
        f"{claim['metadata']['name']}-{workload['metadata']['name']}-{ordinal}": int(
            quantity(claim["spec"]["resources"]["requests"]["storage"])
        )
        for workload in of_kind(everything(stack), "StatefulSet")
        for claim in workload["spec"]["volumeClaimTemplates"]
        for ordinal in range(workload["spec"]["replicas"])
    }
    assert desired_claims(stack, settled(stack)) == made
    assert len(made) == 6
