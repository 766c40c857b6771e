"""The bridge: takes what wearables push. A Deployment on port 8889 with two containers.

`serve` answers webhooks once Kafka has them; `collect` decodes and normalises them. They share a pod but not a fate:
`collect` has no readiness probe, so its trouble never takes the webhooks out of their Service.
"""

from __future__ import annotations

from typing import Final

from auren_operator.api import names
from auren_operator.api.pools import pools
from auren_operator.api.spec import Stack
from auren_operator.components import kafka, redis, timescaledb
from auren_operator.components import stack as whole
from auren_operator.manifests.images import BRIDGE
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.network import BRIDGE_PORT, COLLECT_HEALTH_PORT, COLLECT_METRICS_PORT, METRICS_PORT
from auren_operator.manifests.pods import Container, Probes, ask_http
from auren_operator.manifests.services import (
    LIVE,
    PROBE_PERIOD_SECONDS,
    START_SECONDS,
    our_service,
    service_container,
    service_secret,
)
from auren_operator.manifests.wiring import Wiring

COMPONENT = Component(
    name="biometric-bridge",
    workload="Deployment",
    needs=("kafka", "timescaledb", "redis", "migrations", "topics"),
    port=BRIDGE_PORT,
)

SERVE_PORTS: Final = {"http": BRIDGE_PORT, "metrics": METRICS_PORT}
COLLECT_PORTS: Final = {"health": COLLECT_HEALTH_PORT, "collect-metrics": COLLECT_METRICS_PORT}
PORTS: Final = {**SERVE_PORTS, "collect-metrics": COLLECT_METRICS_PORT}

COLLECT_ALIVE: Final = ask_http(LIVE, "health")
COLLECT_PROBES: Final = Probes(
    alive=COLLECT_ALIVE,
    ready=None,
    start=COLLECT_ALIVE,
    start_seconds=START_SECONDS,
    ready_period_seconds=PROBE_PERIOD_SECONDS,
)


def secrets(stack: Stack) -> list[SecretSpec]:
    """Its passwords at the database and at Kafka; made also while it is switched off, as are its role and user."""
    return [service_secret(stack, COMPONENT)]


def build(stack: Stack, facts: Facts) -> Built:
    """Both containers with what they need to reach the log, the database and Redis."""
    wiring = (
        whole.member(stack)
        | kafka.client(stack, COMPONENT)
        | timescaledb.client(stack, COMPONENT)
        | redis.client(stack)
    )
    containers = [_serve(stack, wiring), _collect(stack, wiring)]
    return our_service(stack, COMPONENT, facts, stack.bridge, containers, wiring, PORTS)


def _serve(stack: Stack, wiring: Wiring) -> Container:
    env = {names.ENV_DATABASE_POOL_SIZE: str(pools(stack).bridge_serve)}
    return service_container("serve", BRIDGE, stack.bridge, wiring, SERVE_PORTS, env, arguments=("serve",))


def _collect(stack: Stack, wiring: Wiring) -> Container:
    env = {
        names.ENV_DATABASE_POOL_SIZE: str(pools(stack).bridge_collect),
        names.ENV_HEALTH_PORT: str(COLLECT_HEALTH_PORT),
        names.ENV_METRICS_PORT: str(COLLECT_METRICS_PORT),
    }
    return service_container(
        "collect", BRIDGE, stack.bridge, wiring, COLLECT_PORTS, env, arguments=("collect",), probes=COLLECT_PROBES
    )
