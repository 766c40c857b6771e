"""NEUROS: the agent that answers people from their own measurements. A Deployment on port 8000."""

from __future__ import annotations

from typing import Final

from auren_operator.api import names
from auren_operator.api.pools import pools
from auren_operator.api.spec import Stack
from auren_operator.components import chromadb, kafka, redis, timescaledb
from auren_operator.components import stack as whole
from auren_operator.manifests.images import NEUROS
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.network import METRICS_PORT, NEUROS_PORT
from auren_operator.manifests.services import our_service, service_container, service_secret

COMPONENT = Component(
    name="neuros-advanced",
    workload="Deployment",
    needs=("kafka", "timescaledb", "redis", "chromadb", "migrations", "topics"),
    port=NEUROS_PORT,
)

PORTS: Final = {"http": NEUROS_PORT, "metrics": METRICS_PORT}


def secrets(stack: Stack) -> list[SecretSpec]:
    """Its passwords at the database and at Kafka; made also while it is switched off, as are its role and user."""
    return [service_secret(stack, COMPONENT)]


def build(stack: Stack, facts: Facts) -> Built:
    """The service with all four stores behind it."""
    wiring = (
        whole.member(stack)
        | whole.modes(stack)
        | kafka.client(stack, COMPONENT)
        | timescaledb.client(stack, COMPONENT)
        | redis.client(stack)
        | chromadb.client(stack)
    )
    env = {names.ENV_DATABASE_POOL_SIZE: str(pools(stack).neuros)}
    container = service_container("neuros", NEUROS, stack.neuros, wiring, PORTS, env)
    return our_service(stack, COMPONENT, facts, stack.neuros, [container], wiring, PORTS)
