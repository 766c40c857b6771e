"""The biometric service: writes measurements and answers what was measured. A Deployment on port 8888."""

from __future__ import annotations

from typing import Final

from auren_operator.api import names
from auren_operator.api.pools import pools
from auren_operator.api.spec import Stack
from auren_operator.components import kafka, neuros, redis, timescaledb
from auren_operator.components import stack as whole
from auren_operator.manifests.images import BIOMETRIC
from auren_operator.manifests.meta import host
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.network import BIOMETRIC_PORT, METRICS_PORT, NEUROS_PORT
from auren_operator.manifests.services import our_service, service_container, service_secret

COMPONENT = Component(
    name="biometric-production",
    workload="Deployment",
    needs=("kafka", "timescaledb", "redis", "migrations", "topics"),
    port=BIOMETRIC_PORT,
)

PORTS: Final = {"http": BIOMETRIC_PORT, "metrics": METRICS_PORT}


def secrets(stack: Stack) -> list[SecretSpec]:
    """Its passwords at the database and at Kafka; made also while it is switched off, as are its role and user."""
    return [service_secret(stack, COMPONENT)]


def build(stack: Stack, facts: Facts) -> Built:
    """The service with what it needs to reach the log, the database and Redis."""
    wiring = (
        whole.member(stack)
        | whole.modes(stack)
        | kafka.client(stack, COMPONENT)
        | timescaledb.client(stack, COMPONENT)
        | timescaledb.retention(stack)
        | redis.client(stack)
    )
    env = {
        names.ENV_DATABASE_POOL_SIZE: str(pools(stack).biometric),
        names.ENV_NEUROS_URL: f"http://{host(stack, neuros.COMPONENT)}:{NEUROS_PORT}" if stack.neuros.enabled else "",
    }
    container = service_container("biometric", BIOMETRIC, stack.biometric, wiring, PORTS, env)
    return our_service(stack, COMPONENT, facts, stack.biometric, [container], wiring, PORTS)
