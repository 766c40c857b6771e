"""Good and bad specs of the bridge's providers: rows of the table in `spec_cases.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Row = tuple[str, Mapping[str, Any], tuple[str, ...], tuple[str, ...]]
"""What `spec_cases.Case` is made of: title, spec, broken, misshapen."""

SECRET: Final = "credentials.name must name a Secret while enabled is true"
REACHABLE: Final = (
    "spec.bridge: publicURL is needed while providers.oura or providers.whoop is enabled: people come back to it from "
    "the vendor",
)
ADDRESS: Final = ("spec.bridge.publicURL: must be an https address without a path, such as https://bridge.example.com",)
WHOOP: Final = "spec.bridge.providers.whoop"
TERRA: Final = "spec.bridge.providers.terra.kafka"
COMPLETE: Final = "tls.name must name a Secret, and brokers their addresses, while enabled is true"
EACH: Final = (
    "spec: bridge.providers.terra.kafka.brokers must name each broker, from 0 to one less than Kafka's replicas: Terra "
    "is told where each one is"
)
HOST: Final = "must be a host's name or IPv4 address as Terra reaches it, such as kafka-0.example.com"

EVERY_PROVIDER: Final[Mapping[str, Any]] = {
    "publicURL": "https://bridge.example.com",
    "providers": {
        "oura": {"enabled": True, "credentials": {"name": "oura-credentials"}, "windowSeconds": 86400},
        "whoop": {"enabled": True, "credentials": {"name": "whoop-credentials"}, "windowSeconds": 1},
        "terra": {
            "enabled": True,
            "credentials": {"name": "terra.credentials"},
            "kafka": {
                "enabled": True,
                "tls": {"name": "terra-kafka-tls"},
                "brokers": [
                    {"broker": 1, "host": "kafka-1.example.com", "port": 9095, "annotations": {"example.com/x": "1"}},
                    {"broker": 0, "host": "198.51.100.7", "nodePort": 30094},
                    {"broker": 2, "host": "kafka-1.example.com"},
                ],
                "service": {"type": "NodePort", "annotations": {"example.com/x": "all", "example.com/y": ""}},
            },
        },
        "healthkit": {"enabled": False},
    },
}
"""All that `spec.bridge` can say about providers."""


def whoop(**fields: Any) -> dict[str, Any]:
    """A spec in which WHOOP has these fields, and the bridge an address."""
    return {"bridge": {"publicURL": "https://b", "providers": {"whoop": fields}}}


def on(provider: str, **bridge: Any) -> dict[str, Any]:
    """A spec in which a provider is on, and the bridge has these fields besides."""
    return {"bridge": {"providers": {provider: {"enabled": True, "credentials": {"name": "o"}}}, **bridge}}


def terra(size: str = "demo", /, **fields: Any) -> dict[str, Any]:
    """A spec in which Terra's Kafka destination is on, and has these fields instead of or besides what it needs."""
    kafka = {"enabled": True, "tls": {"name": "t"}, "brokers": [{"broker": 0, "host": "k"}], **fields}
    asked = {key: value for key, value in kafka.items() if value is not None}
    credentials = {"enabled": True, "credentials": {"name": "t"}}
    return {"size": size, "bridge": {"providers": {"terra": {**credentials, "kafka": asked}}}}


def broker(number: int, **fields: Any) -> dict[str, Any]:
    """One broker's address."""
    return {"broker": number, "host": f"kafka-{number}.example.com", **fields}


def good(title: str, spec: Mapping[str, Any]) -> Row:
    """Nothing is wrong with it."""
    return title, spec, (), ()


GOOD: Final[tuple[Row, ...]] = (
    good("every provider", {"bridge": EVERY_PROVIDER}),
    good("a provider that is off and has a Secret", whoop(enabled=False, credentials={"name": "w"})),
    good("providers without a word", {"bridge": {"providers": {"oura": {}, "whoop": {}, "healthkit": {}}}}),
    good("Oura with an address", on("oura", publicURL="https://b")),
    good("WHOOP with an address", on("whoop", publicURL="https://b")),
    good("Terra without an address: its widget brings people back by itself", on("terra")),
    good("Terra's Kafka", terra()),
    good("Terra's Kafka that is off and half said", terra("large", enabled=False, tls=None)),
    good("Terra's Kafka with more addresses than brokers", terra(brokers=[broker(2), broker(0)])),
    good("Terra's Kafka with three brokers", terra("large", brokers=[broker(2), broker(0), broker(1)])),
    good("Terra's brokers behind one host", terra(brokers=[broker(0, host="k"), broker(1, host="k", port=9095)])),
    good("Terra's Kafka behind an address within", terra(service={"type": "ClusterIP"})),
    good("an address with a port", {"bridge": {"publicURL": "https://Bridge-1.example.com:8443"}}),
)

BAD: Final[tuple[Row, ...]] = (
    ("a provider on, without a Secret", whoop(enabled=True), (f"{WHOOP}: {SECRET}",), ()),
    ("credentials without a name", whoop(enabled=True, credentials={}), (), (f"{WHOOP}.credentials.name",)),
    (
        "a Secret's name in capitals",
        whoop(enabled=True, credentials={"name": "Whoop"}),
        (f"{WHOOP}.credentials.name: must be an object's name: lower case letters, digits, '-' and '.'",),
        (),
    ),
    ("a window of nothing", whoop(windowSeconds=0), (), (f"{WHOOP}.windowSeconds",)),
    ("a window of more than a day", whoop(windowSeconds=86401), (), (f"{WHOOP}.windowSeconds",)),
    ("a word for a window", whoop(windowSeconds="5m"), (), (f"{WHOOP}.windowSeconds",)),
    ("Terra's Kafka without a certificate", terra(tls=None), (f"{TERRA}: {COMPLETE}",), ()),
    ("Terra's Kafka without addresses", terra(brokers=None), (f"{TERRA}: {COMPLETE}",), ()),
    ("Terra's Kafka with an empty list", terra(brokers=[]), (EACH,), ()),
    ("Terra's Kafka with one address of three", terra("medium"), (EACH,), ()),
    ("Terra's Kafka with one address of three brokers", terra() | {"kafka": {"replicas": 3}}, (EACH,), ()),
    ("Terra's Kafka with the wrong address", terra(brokers=[broker(1)]), (EACH,), ()),
    ("a broker twice", terra(brokers=[broker(0), broker(0, port=1)]), (), (f"{TERRA}.brokers[1]",)),
    (
        "two brokers at one address",
        terra(brokers=[broker(0, host="k"), broker(1, host="k", port=9094)]),
        (f"{TERRA}.brokers: two brokers must not have the same host and port",),
        (),
    ),
    ("a fourth broker", terra(brokers=[broker(0), broker(3)]), (), (f"{TERRA}.brokers[1].broker",)),
    ("a broker without a host", terra(brokers=[{"broker": 0}]), (), (f"{TERRA}.brokers[0].host",)),
    ("a broker everywhere", terra(brokers=[broker(0, host="0.0.0.0")]), (f"{TERRA}.brokers[0].host: {HOST}",), ()),
    ("a host with a port", terra(brokers=[broker(0, host="k:9094")]), (f"{TERRA}.brokers[0].host: {HOST}",), ()),
    ("a port too high", terra(brokers=[broker(0, port=65536)]), (), (f"{TERRA}.brokers[0].port",)),
    (
        "a port of the nodes that nobody opens",
        terra(brokers=[broker(0, nodePort=30094)], service={"type": "ClusterIP"}),
        (f"{TERRA}: nodePort needs a service of type LoadBalancer or NodePort",),
        (),
    ),
    ("a service of another type", terra(service={"type": "ExternalName"}), (), (f"{TERRA}.service.type",)),
    (
        "an annotation of ours",
        terra(service={"annotations": {"aupex.ai/x": ""}}),
        (f"{TERRA}.service.annotations: annotations that begin with aupex.ai/ are the operator's",),
        (),
    ),
    ("Oura without an address", on("oura"), REACHABLE, ()),
    ("WHOOP without an address", on("whoop"), REACHABLE, ()),
    ("Oura with a bad address", on("oura", publicURL="bridge.example.com"), ADDRESS, ()),
    ("an address without TLS", {"bridge": {"publicURL": "http://bridge.example.com"}}, ADDRESS, ()),
    ("an address with a path", {"bridge": {"publicURL": "https://bridge.example.com/webhooks"}}, ADDRESS, ()),
    ("an address that ends in a slash", {"bridge": {"publicURL": "https://bridge.example.com/"}}, ADDRESS, ()),
    ("an address with a person in it", {"bridge": {"publicURL": "https://me:pw@bridge.example.com"}}, ADDRESS, ()),
    ("an address of nothing", {"bridge": {"publicURL": ""}}, ADDRESS, ()),
    ("an address that ends in a newline", {"bridge": {"publicURL": "https://b\n"}}, ADDRESS, ()),
    ("an address too long", {"bridge": {"publicURL": f"https://{'a' * 505}"}}, (), ("spec.bridge.publicURL",)),
)
