"""Kafka: the log that every measurement goes through. One StatefulSet of 1 or 3 nodes, each broker and controller.

The nodes form a KRaft quorum with fixed voters, so that one whose volume was emptied rejoins under its own id; hence
the number of nodes is fixed when the stack is created. Clients come in over SASL: services with SCRAM and rights of
their own, `kafka-admin` with PLAIN and every right (SCRAM users live in the log itself, so somebody must be able to
come in before there are any). Controllers know each other by PLAIN, the only mechanism that works between them. Terra,
from outside, has a listener of its own (`kafka_terra`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.components import kafka_terra
from auren_operator.components.kafka_files import LOG4J, START, server_properties
from auren_operator.components.kafka_terra import Addition
from auren_operator.manifests.availability import disruption_budget
from auren_operator.manifests.config import config_annotation, config_map, config_volume
from auren_operator.manifests.images import KAFKA
from auren_operator.manifests.meta import child_name, host
from auren_operator.manifests.model import Built, Component, Facts, Generator, Manifest, SecretSpec, UserObject
from auren_operator.manifests.network import KAFKA_CONTROLLER_PORT, KAFKA_PORT, headless_service, network_policy
from auren_operator.manifests.pods import Container, Probes, ask_tcp, from_field, pod_template, scratch
from auren_operator.manifests.secrets import have_secrets, secret_files, secrets_annotation
from auren_operator.manifests.services import KAFKA_LOGIN
from auren_operator.manifests.storage import claim_names, claim_template, shrink_notes, wanted_bytes
from auren_operator.manifests.wiring import SECRETS_MOUNT, Wiring
from auren_operator.manifests.workloads import service_account, stateful_set

COMPONENT = Component(name="kafka", workload="StatefulSet", port=KAFKA_PORT)

ADMIN: Final = "kafka-admin"
CLUSTER_ID: Final = "cluster-id"
ADMIN_LOGIN: Final = "admin-password"
GREATEST_NODES: Final = 3

PORTS: Final = {"client": KAFKA_PORT, "controller": KAFKA_CONTROLLER_PORT}
PROBES: Final = Probes(
    alive=ask_tcp("client"), ready=ask_tcp("client"), start=ask_tcp("client"), start_seconds=300, ready_period_seconds=2
)
"""By TCP: a probe that starts a Java client would cost more than the broker. A broker opens the port once it has
caught up with the metadata; after an unclean end it reads its log first, hence the long start."""

GRACE_SECONDS: Final = 60
"""A broker hands its partitions over and closes its log; else the next start reads all of it."""

CATCH_UP_SECONDS: Final = 10
"""With several nodes: how long one must be up before the next restarts, so that its replicas are in sync again."""

SMALL_BYTES: Final = 1 << 30
"""Up to this memory limit the simple compiler and collector serve better: half the CPU at the start, less memory."""

SMALL_JVM: Final = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
LARGE_JVM: Final = "-XX:+UseG1GC -XX:MaxGCPauseMillis=20"


def secrets(stack: Stack) -> list[SecretSpec]:
    """The cluster's id and the administrator's password: without them the data on the volumes cannot be read."""
    keys: Mapping[str, Generator] = {CLUSTER_ID: "cluster-id", ADMIN_LOGIN: "password"}
    claims = claim_names(stack, COMPONENT, GREATEST_NODES)
    own = SecretSpec(child_name(stack, COMPONENT), COMPONENT.name, keys, guards_data=True, guarded_volumes=claims)
    return [own, *kafka_terra.secrets(stack, COMPONENT)]


def user_objects(stack: Stack) -> list[UserObject]:
    """The certificate with which brokers meet Terra, where they do."""
    return kafka_terra.user_objects(stack, COMPONENT)


def nodes(stack: Stack, facts: Facts) -> int:
    """How many nodes there are: as many as at creation, which the StatefulSet or a volume remembers."""
    created = facts.replicas.get(child_name(stack, COMPONENT))
    if created is not None:
        return created
    volumes = (facts.volumes.get(name) for name in claim_names(stack, COMPONENT, GREATEST_NODES))
    remembered = [volume.created_replicas for volume in volumes if volume and volume.created_replicas]
    return max(remembered, default=stack.kafka.replicas)


def replication(stack: Stack, facts: Facts) -> int:
    """Copies of each partition."""
    return min(nodes(stack, facts), 3)


def claims(stack: Stack, facts: Facts) -> dict[str, int]:
    """Claim → bytes that it should request."""
    count = nodes(stack, facts)
    size = wanted_bytes(stack, COMPONENT, stack.kafka, count, facts)
    return dict.fromkeys(claim_names(stack, COMPONENT, count), size)


def build(stack: Stack, facts: Facts) -> Built:
    """The nodes, the names by which they find each other, and their configuration."""
    count = nodes(stack, facts)
    size = wanted_bytes(stack, COMPONENT, stack.kafka, count, facts)
    terra = kafka_terra.addition(stack, COMPONENT, facts, count)
    notes = (*_count_notes(stack, count), *shrink_notes(stack.kafka, size), *terra.notes)
    config = _config(stack, count, terra)
    around = [
        service_account(stack, COMPONENT),
        config,
        headless_service(stack, COMPONENT, PORTS),
        disruption_budget(stack, COMPONENT),
        *terra.services,
        *network_policy(stack, COMPONENT),
    ]
    if not have_secrets(facts, [child_name(stack, COMPONENT)]):
        return Built(around, notes, withheld=("StatefulSet",))
    return Built([*around, _nodes(stack, facts, config, count, size, terra)], notes)


def _nodes(stack: Stack, facts: Facts, config: Manifest, count: int, size: int, terra: Addition) -> Manifest:
    secret = child_name(stack, COMPONENT)
    logins = secret_files({**{key: (secret, key) for key in (CLUSTER_ID, ADMIN_LOGIN)}, **terra.logins})
    template = pod_template(
        stack,
        COMPONENT,
        [_container(stack, terra)],
        [config_volume(stack, COMPONENT), logins, *terra.volumes, scratch("tmp", "256Mi")],
        grace_seconds=GRACE_SECONDS,
        annotations={**config_annotation(config), **secrets_annotation(facts, [secret]), **terra.annotations},
        spread=count > 1,
    )
    remembered = {names.ANNOTATION_CREATED_REPLICAS: str(count)}
    return stateful_set(
        stack,
        COMPONENT,
        template,
        claim_template(stack, COMPONENT, stack.kafka, size, remembered),
        replicas=count,
        parallel=True,  # an ordered start waits for the first node to be ready, which waits for the second
        min_ready_seconds=CATCH_UP_SECONDS if count > 1 else 0,
    )


def _config(stack: Stack, count: int, terra: Addition) -> Manifest:
    shared = server_properties(stack.kafka, child_name(stack, COMPONENT), host(stack, COMPONENT), count)
    files = {"server.properties": shared, "log4j2.properties": LOG4J, "start.sh": START, **terra.files}
    return config_map(stack, COMPONENT, files)


def _count_notes(stack: Stack, count: int) -> tuple[str, ...]:
    asked = stack.kafka.replicas
    return () if count == asked else (f"nodes stay {count} (asked for {asked}): their number is fixed at creation",)


def _container(stack: Stack, terra: Addition) -> Container:
    limit = stack.kafka.resources.memory_limit_bytes
    heap = limit // 2 >> 20
    machine = SMALL_JVM if limit <= SMALL_BYTES else LARGE_JVM
    return Container(
        name="kafka",
        image=KAFKA,
        resources=stack.kafka.resources,
        probes=PROBES,
        ports={**PORTS, **terra.ports},
        env={
            "POD_NAME": from_field("metadata.name"),
            "DOMAIN": host(stack, COMPONENT),
            "KAFKA_HEAP_OPTS": f"-Xms{heap // 2}m -Xmx{heap}m",
            "KAFKA_JVM_PERFORMANCE_OPTS": f"{machine} -XX:+ExitOnOutOfMemoryError",
            "KAFKA_LOG4J_OPTS": "-Dlog4j2.configurationFile=/etc/auren/log4j2.properties",
            "EXTRA_ARGS": "-name kafkaServer",  # the official script would add a log of garbage collections
            "LOG_DIR": "/tmp/logs",
        },
        mounts={"config": "/etc/auren", **SECRETS_MOUNT, **terra.mounts},
        writable={"data": KAFKA.data_path or "", "tmp": "/tmp"},
    )


def client(stack: Stack, component: Component) -> Wiring:
    """What a service needs to come in as its own SCRAM user, named like the service."""
    return _wiring(stack, component.name, "SCRAM-SHA-512", child_name(stack, component), KAFKA_LOGIN)


def admin(stack: Stack) -> Wiring:
    """What the topics Job needs to come in as the administrator."""
    return _wiring(stack, ADMIN, "PLAIN", child_name(stack, COMPONENT), ADMIN_LOGIN)


def _wiring(stack: Stack, user: str, mechanism: str, secret: str, key: str) -> Wiring:
    env = {
        names.ENV_KAFKA_BOOTSTRAP: f"{host(stack, COMPONENT)}:{KAFKA_PORT}",
        names.ENV_KAFKA_SECURITY: "SASL_PLAINTEXT",
        names.ENV_KAFKA_MECHANISM: mechanism,
        names.ENV_KAFKA_USERNAME: user,
    }
    return Wiring(env, {"auren_kafka_password": (secret, key)})
