"""What our three services have in common as workloads: probes, ports, environment, drain and roll-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.spec import ServiceSpec, Stack
from auren_operator.manifests.availability import autoscaler, disruption_budget
from auren_operator.manifests.images import ImageContract
from auren_operator.manifests.meta import child_name
from auren_operator.manifests.model import Built, Component, Facts, Generator, SecretSpec
from auren_operator.manifests.network import METRICS_PORT, network_policy, service
from auren_operator.manifests.pods import Container, Probes, ask_http, pod_template, scratch
from auren_operator.manifests.secrets import have_secrets, secrets_annotation
from auren_operator.manifests.wiring import SECRETS_MOUNT, Wiring
from auren_operator.manifests.workloads import deployment, service_account

DATABASE_LOGIN: Final = "database-password"
KAFKA_LOGIN: Final = "kafka-password"
"""Keys of every service's own Secret."""

LIVE: Final = "/health/live"
SERVING: Final = "/health/serving"

START_SECONDS: Final = 60
"""The listener opens before any connection is made: Python's imports are all that this has to cover."""

PROBE_PERIOD_SECONDS: Final = 1
"""Asked every second: how fast a deleted service answers again depends on it, and the answer costs microseconds."""

DRAIN_SECONDS: Final = 5
"""Time for every node and proxy to learn that a pod is going, before it begins to stop."""

GRACE_SECONDS: Final = 45
"""Drain, requests in flight, the producer's flush and the offsets' commit; then the pod is killed."""

TMP_SIZE: Final = "64Mi"

LISTEN: Final[Mapping[str, str]] = {
    names.ENV_HOST: "0.0.0.0",  # a pod's only interface besides loopback is the pod network
    names.ENV_SECRETS_DIR: names.SECRETS_DIR,
}

HTTP_PROBES: Final = Probes(
    alive=ask_http(LIVE, "http"),
    ready=ask_http(SERVING, "http"),
    start=ask_http(LIVE, "http"),
    start_seconds=START_SECONDS,
    ready_period_seconds=PROBE_PERIOD_SECONDS,
)


def service_secret(stack: Stack, component: Component) -> SecretSpec:
    """The service's own passwords: its role in the database, its user at Kafka."""
    keys: Mapping[str, Generator] = {DATABASE_LOGIN: "password", KAFKA_LOGIN: "password"}
    return SecretSpec(child_name(stack, component), component.name, keys)


def role(component: Component) -> str:
    """The service's role in the database: its name with underscores."""
    return component.name.replace("-", "_")


def our_service(
    stack: Stack,
    component: Component,
    facts: Facts,
    spec: ServiceSpec,
    containers: Sequence[Container],
    wiring: Wiring,
    ports: Mapping[str, int],
    volumes: Sequence[dict[str, Any]] = (),
    annotations: Mapping[str, str] | None = None,
) -> Built:
    """Everything that one of our services is made of; nothing when the spec switches it off.

    ``wiring`` is what all its containers mount, ``volumes`` are what it mounts besides; ``ports`` are those of its
    Service. ``annotations`` are its pods' besides that of the Secrets.
    """
    if not spec.enabled:
        return Built([])
    around = [
        service_account(stack, component),
        service(stack, component, ports),
        disruption_budget(stack, component),
        *autoscaler(stack, component, spec),
        *network_policy(stack, component),
    ]
    if not have_secrets(facts, wiring.secrets):
        return Built(around, withheld=("Deployment",))
    template = pod_template(
        stack,
        component,
        containers,
        [wiring.volume, *volumes, scratch("tmp", TMP_SIZE)],
        grace_seconds=GRACE_SECONDS,
        annotations={**secrets_annotation(facts, wiring.mounted), **(annotations or {})},
        spread=spec.greatest_replicas > 1,
        placement=spec,
    )
    return Built([*around, deployment(stack, component, spec, template)])


def service_container(
    name: str,
    image: ImageContract,
    spec: ServiceSpec,
    wiring: Wiring,
    ports: Mapping[str, int],
    env: Mapping[str, str],
    *,
    arguments: tuple[str, ...] = (),
    probes: Probes = HTTP_PROBES,
    mounts: Mapping[str, str] | None = None,
) -> Container:
    """One container of a service. ``env`` and ``mounts`` are its own; what the spec adds cannot replace any of ours.

    One that answers requests (it has a port ``http``) is drained before it stops.
    """
    listen = {names.ENV_PORT: str(ports["http"])} if "http" in ports else {}
    metrics = {names.ENV_METRICS_PORT: str(METRICS_PORT)}
    return Container(
        name=name,
        image=image,
        arguments=arguments,
        resources=spec.resources,
        probes=probes,
        ports=ports,
        env={**spec.env, **LISTEN, **listen, **metrics, **wiring.env, **env},
        mounts={**SECRETS_MOUNT, **(mounts or {})},
        writable={"tmp": "/tmp"},
        drain_seconds=DRAIN_SECONDS if "http" in ports else 0,
    )
