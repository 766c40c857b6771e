"""Every pair of pods is allowed or denied just as the one table of who talks to whom says."""

from __future__ import annotations

import itertools

import pytest

from auren_operator.components import MODULES
from auren_operator.manifests.meta import labels
from auren_operator.manifests.network import ANY_POD, ANYONE, CLOSED, DNS, DNS_PORT, FLOWS, STORES, flows, markdown
from tests.unit.operator.built import SIZES, a_stack, build, containers, everything, of_kind
from tests.unit.operator.network import End, allowed
from tests.unit.operator.provider_cases import EVERY_PROVIDER

COMPONENTS = {module.COMPONENT.name: module.COMPONENT for module in MODULES if module.COMPONENT.workload}
STACK = a_stack({"size": "large", "bridge": EVERY_PROVIDER, "neuros": {"llm": {"mode": "local"}}})
MANIFESTS = everything(STACK)
POLICIES = of_kind(MANIFESTS, "NetworkPolicy")
PODS = {name: End(STACK.namespace, labels(STACK, component)) for name, component in COMPONENTS.items()}
PORTS = sorted({flow.port for flow in FLOWS} | {1, 8890})

NEIGHBOUR = End(STACK.namespace, {"app": "somebody-else"})
STRANGER = End("elsewhere", {"app": "prometheus"})
OTHER_STACK = End(STACK.namespace, labels(a_stack({}, "other"), COMPONENTS["neuros-advanced"]))
NAMESAKE = End("elsewhere", labels(STACK, COMPONENTS["neuros-advanced"]))
OUTSIDE = End(labels=None)


def listed(source: str, target: str, port: int) -> bool:
    """Whether the table has this flow for a component as source."""
    return any(
        flow.target == target and flow.port == port and flow.source in {source, ANYONE, ANY_POD} for flow in FLOWS
    )


@pytest.mark.parametrize(("source", "target"), list(itertools.product(COMPONENTS, COMPONENTS)))
def test_components_reach_each_other_only_as_the_table_says(source: str, target: str) -> None:
    for port in PORTS:
        got = allowed(POLICIES, PODS[source], PODS[target], port)
        by_name = any((flow.source, flow.target, flow.port) == (source, target, port) for flow in FLOWS)
        wanted = by_name if source in CLOSED else listed(source, target, port)
        assert got == wanted, f"{source} → {target}:{port}"


@pytest.mark.parametrize(
    "foreign",
    [NEIGHBOUR, STRANGER, OTHER_STACK, NAMESAKE],
    ids=["neighbour", "elsewhere", "other stack", "namesake elsewhere"],
)
@pytest.mark.parametrize("target", COMPONENTS)
def test_pods_of_others_reach_only_what_is_open_to_any(foreign: End, target: str) -> None:
    for port in PORTS:
        wanted = any(flow.target == target and flow.port == port and flow.source in {ANYONE, ANY_POD} for flow in FLOWS)
        assert allowed(POLICIES, foreign, PODS[target], port) == wanted, f"{foreign} → {target}:{port}"


@pytest.mark.parametrize("target", COMPONENTS)
def test_addresses_outside_reach_only_what_is_open_to_anyone(target: str) -> None:
    for port in PORTS:
        wanted = any(flow.target == target and flow.port == port and flow.source == ANYONE for flow in FLOWS)
        assert allowed(POLICIES, OUTSIDE, PODS[target], port) == wanted, f"outside → {target}:{port}"


@pytest.mark.parametrize("source", COMPONENTS)
@pytest.mark.parametrize("target", [OUTSIDE, STRANGER, NEIGHBOUR], ids=["outside", "elsewhere", "neighbour"])
def test_a_closed_component_reaches_nobody_but_the_name_service(source: str, target: End) -> None:
    for port in (443, 5432, 8000):
        assert allowed(POLICIES, PODS[source], target, port) == (source not in CLOSED)
    asks_names = any(flow.source == source and flow.target == DNS for flow in FLOWS) or source not in CLOSED
    assert allowed(POLICIES, PODS[source], target, DNS_PORT, "UDP") == asks_names


def test_what_is_for_terra_is_closed_in_a_stack_without_its_destination() -> None:
    policies = of_kind(everything(a_stack({"size": "large"})), "NetworkPolicy")
    (terra,) = (flow for flow in FLOWS if flow.only_with == "terra")
    assert not allowed(policies, OUTSIDE, PODS[terra.target], terra.port)
    assert allowed(POLICIES, OUTSIDE, PODS[terra.target], terra.port)
    assert [flow for flow in flows(a_stack({})) if flow.only_with] == []


def test_the_table_names_existing_components_and_ports() -> None:
    assert {flow.source for flow in FLOWS} <= {*COMPONENTS, ANYONE, ANY_POD}
    assert {flow.target for flow in FLOWS} <= {*COMPONENTS, DNS}
    opened = {
        (workload["metadata"]["labels"]["app.kubernetes.io/component"], port["containerPort"])
        for workload, container in containers(MANIFESTS)
        for port in container.get("ports", ())
    }
    assert {(flow.target, flow.port) for flow in FLOWS if flow.target != DNS} <= opened
    assert len({(flow.source, flow.target, flow.port) for flow in FLOWS}) == len(FLOWS)


def test_stores_of_the_table_are_the_stateful_sets() -> None:
    assert set(STORES) == {name for name, component in COMPONENTS.items() if component.workload == "StatefulSet"}


@pytest.mark.parametrize("size", SIZES)
def test_without_policies_there_are_none_and_chroma_says_what_that_means(size: str) -> None:
    stack = a_stack({"size": size, "networkPolicies": False})
    assert of_kind(everything(stack), "NetworkPolicy") == []
    assert any("no authentication" in note for note in build(stack, "chromadb").notes)


def test_the_table_is_printed_whole() -> None:
    lines = markdown().splitlines()
    assert len(lines) == 2 + len(FLOWS)
    assert len({line.count("|") for line in lines}) == 1
