"""Who talks to whom: Services, and the NetworkPolicies that allow just that.

`FLOWS` is the one table. Whatever it does not list is denied: nothing comes in to any pod of a stack, and nothing
goes out of a store or the local model. The services' own way out stays open, because they call vendors (a language
model's, too) whose addresses are host names, which a policy cannot name. Kubelet's probes come from the node and pass
every policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.manifests.meta import manifest, selector
from auren_operator.manifests.model import Component, Manifest

ANYONE: Final = "*"
"""As a source: any address, in the cluster or outside."""
ANY_POD: Final = "pods"
"""As a source: any pod of the cluster, whatever its namespace."""
DNS: Final = "dns"
"""As a target: the cluster's name service."""

DNS_PORT: Final = 53
KAFKA_PORT: Final = 9092
KAFKA_CONTROLLER_PORT: Final = 9093
KAFKA_TERRA_PORT: Final = 9094
TIMESCALEDB_PORT: Final = 5432
REDIS_PORT: Final = 6379
CHROMADB_PORT: Final = 8000
NEUROS_PORT: Final = 8000
BIOMETRIC_PORT: Final = 8888
BRIDGE_PORT: Final = 8889
METRICS_PORT: Final = 9464
COLLECT_METRICS_PORT: Final = 9465
COLLECT_HEALTH_PORT: Final = 8890
LOCAL_MODEL_PORT: Final = 8080

STORES: Final = ("kafka", "timescaledb", "redis", "chromadb")
CLOSED: Final = (*STORES, "local-model")
"""Components that open no connection which `FLOWS` does not list."""


@dataclass(frozen=True, slots=True)
class Flow:
    """``source`` may open connections to ``port`` of ``target``; both are components' names or the words above.

    One that is ``only_with`` something is allowed only in stacks that have it: Terra's destination or a local model.
    """

    source: str
    target: str
    port: int
    why: str
    only_with: Literal["", "terra", "local-model"] = ""


FLOWS: Final = (
    Flow("neuros-advanced", "kafka", KAFKA_PORT, "reads measurements"),
    Flow("biometric-production", "kafka", KAFKA_PORT, "reads measurements, writes decisions"),
    Flow("biometric-bridge", "kafka", KAFKA_PORT, "writes deliveries, reads and normalises them"),
    Flow("topics", "kafka", KAFKA_PORT, "makes topics, users and access lists"),
    Flow("kafka", "kafka", KAFKA_PORT, "brokers copy partitions from each other"),
    Flow("kafka", "kafka", KAFKA_CONTROLLER_PORT, "the quorum of controllers"),
    Flow(
        ANYONE, "kafka", KAFKA_TERRA_PORT, "Terra, where `terra.kafka` is enabled: TLS, a password", only_with="terra"
    ),
    Flow("kafka", DNS, DNS_PORT, "brokers find each other by name"),
    Flow("neuros-advanced", "timescaledb", TIMESCALEDB_PORT, "latest values, its own memory"),
    Flow("biometric-production", "timescaledb", TIMESCALEDB_PORT, "writes and reads measurements"),
    Flow("biometric-bridge", "timescaledb", TIMESCALEDB_PORT, "revoked tokens, connections"),
    Flow("migrations", "timescaledb", TIMESCALEDB_PORT, "schema, roles and grants"),
    Flow("neuros-advanced", "redis", REDIS_PORT, "hot values"),
    Flow("biometric-production", "redis", REDIS_PORT, "hot values"),
    Flow("biometric-bridge", "redis", REDIS_PORT, "rate limits, locks"),
    Flow("neuros-advanced", "chromadb", CHROMADB_PORT, "vectors; Chroma has no authentication, this line is its guard"),
    Flow("neuros-advanced", "local-model", LOCAL_MODEL_PORT, "answers; this line is the model's guard", "local-model"),
    Flow("biometric-production", "neuros-advanced", NEUROS_PORT, "chat and a person's memory, with their own token"),
    Flow(ANYONE, "neuros-advanced", NEUROS_PORT, "people; every request carries a token"),
    Flow(ANYONE, "biometric-production", BIOMETRIC_PORT, "people; every request carries a token"),
    Flow(ANYONE, "biometric-bridge", BRIDGE_PORT, "webhooks; every delivery is verified"),
    Flow(ANY_POD, "neuros-advanced", METRICS_PORT, "Prometheus, wherever it runs; metrics name no person"),
    Flow(ANY_POD, "biometric-production", METRICS_PORT, "Prometheus"),
    Flow(ANY_POD, "biometric-bridge", METRICS_PORT, "Prometheus"),
    Flow(ANY_POD, "biometric-bridge", COLLECT_METRICS_PORT, "Prometheus, of the collector"),
)


def flows(stack: Stack) -> list[Flow]:
    """Those that a stack allows."""
    has = {"": True, "terra": stack.bridge.terra_kafka is not None, "local-model": stack.local_model.enabled}
    return [flow for flow in FLOWS if has[flow.only_with]]


def markdown() -> str:
    """`FLOWS` as the documentation shows it."""
    words = {ANYONE: "anyone, also outside the cluster", ANY_POD: "any pod of the cluster", DNS: "the name service"}
    ends = [(words.get(flow.source, f"`{flow.source}`"), words.get(flow.target, f"`{flow.target}`")) for flow in FLOWS]
    rows = ["| From | To | Port | Why |", "|---|---|---|---|"]
    rows += [
        f"| {source} | {target} | {flow.port} | {flow.why} |"
        for (source, target), flow in zip(ends, FLOWS, strict=True)
    ]
    return "\n".join(rows) + "\n"


def service(stack: Stack, component: Component, ports: Mapping[str, int]) -> Manifest:
    """A Service with an address of its own, which stays the same when pods come and go. ``ports``: name → number."""
    spec = {"type": "ClusterIP", "selector": selector(stack, component), "ports": _ports(ports)}
    return manifest(stack, component, "Service", {"spec": spec})


def headless_service(stack: Stack, component: Component, ports: Mapping[str, int]) -> Manifest:
    """A Service that gives each pod a name, also before it is ready: brokers look for each other to become ready."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector(stack, component),
        "ports": _ports(ports),
    }
    return manifest(stack, component, "Service", {"spec": spec})


def _ports(ports: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "port": port, "targetPort": name} for name, port in ports.items()]


def default_deny(stack: Stack, component: Component) -> list[Manifest]:
    """Nothing comes in to any pod of the stack, the Jobs' included, unless a policy of its component allows it."""
    if not stack.network_policies:
        return []
    spec = {"podSelector": {"matchLabels": {names.LABEL_STACK: stack.name}}, "policyTypes": ["Ingress"]}
    name = f"{stack.name}-default-deny"
    return [manifest(stack, component, "NetworkPolicy", {"spec": spec}, api_version="networking.k8s.io/v1", name=name)]


def network_policy(stack: Stack, component: Component) -> list[Manifest]:
    """What `FLOWS` allows the component: who comes in, and for one that is `CLOSED` also where it may go."""
    if not stack.network_policies:
        return []
    is_closed = component.name in CLOSED
    spec: dict[str, Any] = {
        "podSelector": {"matchLabels": selector(stack, component)},
        "policyTypes": ["Ingress", "Egress"] if is_closed else ["Ingress"],
    }
    allowed = flows(stack)
    comes_in = [(flow.port, flow.source) for flow in allowed if flow.target == component.name]
    goes_out = [(flow.port, flow.target) for flow in allowed if flow.source == component.name]
    if ingress := _rules(stack, "from", comes_in):
        spec["ingress"] = ingress
    if is_closed and (egress := _rules(stack, "to", goes_out)):
        spec["egress"] = egress
    return [manifest(stack, component, "NetworkPolicy", {"spec": spec}, api_version="networking.k8s.io/v1")]


def _rules(stack: Stack, side: str, ends: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    """One rule per port: ``side`` is ``from`` or ``to``, ``ends`` are (port, other end)."""
    by_port: dict[int, list[str]] = {}
    for port, other in ends:
        by_port.setdefault(port, []).append(other)
    return [_rule(stack, side, port, others) for port, others in by_port.items()]


def _rule(stack: Stack, side: str, port: int, others: Sequence[str]) -> dict[str, Any]:
    if DNS in others:
        return {"ports": [{"port": port, "protocol": protocol} for protocol in ("UDP", "TCP")]}
    ports = {"ports": [{"port": port, "protocol": "TCP"}]}
    return ports if ANYONE in others else {**ports, side: [_peer(stack, other) for other in others]}


def _peer(stack: Stack, other: str) -> dict[str, Any]:
    if other == ANY_POD:
        return {"namespaceSelector": {}}
    return {"podSelector": {"matchLabels": {names.LABEL_STACK: stack.name, names.LABEL_COMPONENT: other}}}
