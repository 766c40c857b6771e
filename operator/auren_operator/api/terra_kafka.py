"""Terra's Kafka destination: the shape and rules of `spec.bridge.providers.terra.kafka`, and what it resolves to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from auren_operator.api.reserved import ANNOTATION_PREFIXES
from auren_operator.api.schema import Boolean, Entries, Fields, Integer, Items, Rule, Text
from auren_operator.api.syntax import LABEL_KEYS, OBJECT_NAME, matches

PORT: Final = 9094
"""Where each broker is reached from outside, unless the spec says otherwise."""
SERVICE_TYPE: Final = "LoadBalancer"
MOST_BROKERS: Final = 3

ServiceType = Literal["LoadBalancer", "NodePort", "ClusterIP"]


@dataclass(frozen=True, slots=True)
class Way:
    """How Terra reaches one broker: the address that the broker tells it, and what leads from there to its Service."""

    host: str
    port: int
    node_port: int | None
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TerraKafka:
    """The destination, switched on. ``certificate`` is the name of a person's Secret; ``ways``: broker → its way."""

    certificate: str
    service_type: ServiceType
    ways: Mapping[int, Way]


def terra_kafka(asked: Mapping[str, Any]) -> TerraKafka | None:
    """What the field, held to its rules, asks for; None where it is off."""
    if not asked.get("enabled", False):
        return None
    service = asked.get("service", {})
    shared = service.get("annotations", {})
    return TerraKafka(
        certificate=asked["tls"]["name"],
        service_type=service.get("type", SERVICE_TYPE),
        ways={
            broker["broker"]: Way(
                host=broker["host"],
                port=broker.get("port", PORT),
                node_port=broker.get("nodePort"),
                annotations={**shared, **broker.get("annotations", {})},
            )
            for broker in asked["brokers"]
        },
    )


def has_each_broker(asked: Mapping[str, Any], brokers: int) -> bool:
    """Whether there is an address for each of so many brokers, where the destination is on and names any."""
    named = {broker["broker"] for broker in asked.get("brokers") or ()}
    return not asked.get("enabled") or "brokers" not in asked or named >= set(range(brokers))


def _is_complete(asked: Mapping[str, Any]) -> bool:
    return not asked.get("enabled") or ("tls" in asked and "brokers" in asked)


def _differ(brokers: Sequence[Mapping[str, Any]]) -> bool:
    addresses = [(broker["host"], broker.get("port") or PORT) for broker in brokers]
    return len(addresses) == len(set(addresses))


def _node_ports_are_had(asked: Mapping[str, Any]) -> bool:
    cluster_ip = (asked.get("service") or {}).get("type") == "ClusterIP"
    return not cluster_ip or not any(broker.get("nodePort") for broker in asked.get("brokers") or ())


ANNOTATIONS: Final = Entries(
    Text(4096),
    most=32,
    rules=(
        LABEL_KEYS,
        Rule(
            "annotations that begin with aupex.ai/ are the operator's",
            lambda annotations: not any(key.startswith(ANNOTATION_PREFIXES) for key in annotations),
        ),
    ),
)

_HOST: Final = Text(
    253,
    rules=(
        Rule(
            "must be a host's name or IPv4 address as Terra reaches it, such as kafka-0.example.com",
            lambda host: host != "0.0.0.0" and matches(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?")(host),
        ),
    ),
)
_BROKERS: Final = Items(
    Fields(
        {
            "broker": Integer(0, MOST_BROKERS - 1),
            "host": _HOST,
            "port": Integer(1, 65535),
            "nodePort": Integer(1, 65535),
            "annotations": ANNOTATIONS,
        },
        required=("broker", "host"),
    ),
    most=MOST_BROKERS,
    key="broker",
    rules=(Rule("two brokers must not have the same host and port", _differ),),
)

TERRA_KAFKA: Final = Fields(
    {
        "enabled": Boolean(),
        "tls": Fields({"name": Text(253, rules=(OBJECT_NAME,))}, required=("name",)),
        "brokers": _BROKERS,
        "service": Fields({"type": Text(one_of=("LoadBalancer", "NodePort", "ClusterIP")), "annotations": ANNOTATIONS}),
    },
    rules=(
        Rule("tls.name must name a Secret, and brokers their addresses, while enabled is true", _is_complete),
        Rule("nodePort needs a service of type LoadBalancer or NodePort", _node_ports_are_had),
    ),
)

NEEDS_EACH_BROKER: Final = (
    "bridge.providers.terra.kafka.brokers must name each broker, from 0 to one less than Kafka's replicas: Terra is "
    "told where each one is"
)
