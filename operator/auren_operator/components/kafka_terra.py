"""Terra's way in to Kafka: a listener of its own on port 9094, for one user who may only write to Terra's topic.

TLS with the person's certificate, then PLAIN with a password that the operator generates. The listener is there while
everything that it needs is; brokers start and run without it. What Kafka reads of the key is the mounted Secret itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.certificates import CERTIFICATE, KEY
from auren_operator.api.spec import Stack
from auren_operator.api.terra_kafka import TerraKafka, Way
from auren_operator.manifests.meta import child_name, digest, manifest, selector
from auren_operator.manifests.model import Component, Facts, Manifest, SecretSpec, UserObject
from auren_operator.manifests.network import KAFKA_CONTROLLER_PORT, KAFKA_PORT, KAFKA_TERRA_PORT
from auren_operator.manifests.secrets import optional_files

USER: Final = "terra"
LOGIN: Final = "password"
LOGIN_FILE: Final = "terra-password"
PORTS: Final = {USER: KAFKA_TERRA_PORT}

TLS_DIR: Final = "/run/auren/terra-tls"
TLS_VOLUME: Final = "terra-tls"
PROPERTIES: Final = "terra.properties"
ADDRESSES: Final = "terra-addresses"
"""Files of the ConfigMap: the listener's settings, and the brokers' addresses, one line for each from 0 on."""

POD_NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
"""Kubernetes puts it on each pod of a StatefulSet."""

MOST_CONNECTIONS: Final = 256
MOST_NEW_CONNECTIONS: Final = 20
"""To one broker, at once and per second: whoever knocks from outside takes no connections from the services. A producer
keeps one connection to each broker."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What the listener adds to Kafka: nothing while it is not asked for.

    ``logins`` (file → (Secret, key)), ``volumes``, ``mounts`` and ``annotations`` are the pods', and empty until all
    that the listener needs is there; by the mounted certificate the start script knows that it is.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    services: tuple[Manifest, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    logins: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    volumes: tuple[dict[str, Any], ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def login_secret(stack: Stack, component: Component) -> str:
    """Name of the Secret with Terra's password."""
    return child_name(stack, component, USER)


def secrets(stack: Stack, component: Component) -> list[SecretSpec]:
    """Terra's password, which a person reads and gives to Terra."""
    wanted = SecretSpec(login_secret(stack, component), component.name, {LOGIN: "password"})
    return [wanted] if stack.bridge.terra_kafka else []


def user_objects(stack: Stack, component: Component) -> list[UserObject]:
    """The certificate that the person brings."""
    asked = stack.bridge.terra_kafka
    if asked is None:
        return []
    purpose = "Terra's Kafka destination"
    return [UserObject(asked.certificate, component.name, purpose, (CERTIFICATE, KEY), is_certificate=True)]


def addition(stack: Stack, component: Component, facts: Facts, nodes: int) -> Addition:
    """What ``nodes`` brokers need for the listener, as far as it is there."""
    asked = stack.bridge.terra_kafka
    if asked is None:
        return Addition()
    services = tuple(_service(stack, component, asked, node) for node in range(nodes) if node in asked.ways)
    if missing := [str(node) for node in range(nodes) if node not in asked.ways]:
        told = f"bridge.providers.terra.kafka.brokers names no broker {', '.join(missing)}"
        return Addition(services=services, ports=PORTS, notes=(f"Terra's Kafka destination is off: {told}",))
    closed = Addition(_files([asked.ways[node] for node in range(nodes)]), services, PORTS)
    login = login_secret(stack, component)
    if asked.certificate not in facts.given or login not in facts.secrets:
        return closed
    hashes = [facts.given[asked.certificate], facts.secrets[login]]
    return replace(
        closed,
        logins={LOGIN_FILE: (login, LOGIN)},
        volumes=(optional_files(TLS_VOLUME, asked.certificate, (CERTIFICATE, KEY)),),
        mounts={TLS_VOLUME: TLS_DIR},
        annotations={names.ANNOTATION_TERRA_HASH: digest(hashes)},
    )


def _files(ways: Sequence[Way]) -> dict[str, str]:
    addresses = "".join(f"{way.host}:{way.port}\n" for way in ways)
    return {PROPERTIES: _properties(), ADDRESSES: addresses}


def _properties() -> str:
    """The listener's settings. They come after all others, and the last line of a setting wins.

    Only Kafka's own provider of values from mounted files sees the key and the password.
    """
    login = f"${{secret:{names.SECRETS_DIR}:{LOGIN_FILE}}}"
    listener = "listener.name.terra"
    settings = {
        "listeners": f"CLIENT://:{KAFKA_PORT},CONTROLLER://:{KAFKA_CONTROLLER_PORT},TERRA://:{KAFKA_TERRA_PORT}",
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT,TERRA:SASL_SSL",
        "config.providers.secret.param.allowed.paths": f"{names.SECRETS_DIR},{TLS_DIR}",
        f"{listener}.sasl.enabled.mechanisms": "PLAIN",
        f"{listener}.plain.sasl.jaas.config": (
            f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{login}";'
        ),
        f"{listener}.ssl.keystore.type": "PEM",
        f"{listener}.ssl.keystore.key": f"${{secret:{TLS_DIR}:{KEY}}}",
        f"{listener}.ssl.keystore.certificate.chain": f"${{secret:{TLS_DIR}:{CERTIFICATE}}}",
        f"{listener}.max.connections": str(MOST_CONNECTIONS),
        f"{listener}.max.connection.creation.rate": str(MOST_NEW_CONNECTIONS),
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _service(stack: Stack, component: Component, asked: TerraKafka, node: int) -> Manifest:
    """One for each broker, because a client speaks to the very broker that leads a partition."""
    way = asked.ways[node]
    port: dict[str, Any] = {"name": USER, "port": way.port, "targetPort": USER}
    if way.node_port:
        port["nodePort"] = way.node_port
    pod = {**selector(stack, component), POD_NAME_LABEL: f"{child_name(stack, component)}-{node}"}
    spec = {"type": asked.service_type, "selector": pod, "ports": [port]}
    name = child_name(stack, component, f"{USER}-{node}")
    return manifest(stack, component, "Service", {"spec": spec}, name=name, annotations=way.annotations)
