"""What a stack is made of: one module per component, in the order in which they start."""

from __future__ import annotations

from types import ModuleType

from auren_operator.api.spec import Stack
from auren_operator.components import (
    biometric,
    bridge,
    chromadb,
    kafka,
    local_model,
    migrations,
    neuros,
    redis,
    stack,
    timescaledb,
    topics,
)
from auren_operator.manifests.model import Facts, UserObject

MODULES: tuple[ModuleType, ...] = (
    stack,
    kafka,
    timescaledb,
    redis,
    chromadb,
    migrations,
    topics,
    local_model,
    neuros,
    biometric,
    bridge,
)
"""Each has ``COMPONENT``, ``secrets(stack)`` and ``build(stack, facts)``."""

STORES = (kafka, timescaledb, redis, chromadb)

component_names_with_rows: tuple[str, ...] = tuple(
    module.COMPONENT.name for module in MODULES if module.COMPONENT.workload in ("StatefulSet", "Deployment")
)
"""The components that have a row in the status; a Job's reason shows on whoever waits for it."""


def user_objects(stack: Stack) -> list[UserObject]:
    """The Secrets and ConfigMaps that people make for the stack and its spec names."""
    having = (kafka, timescaledb, neuros, bridge)
    return [asked for module in having for asked in module.user_objects(stack)]


def desired_claims(wanted: Stack, facts: Facts) -> dict[str, int]:
    """Name of every store's volume claim → bytes that it should request; never fewer than it has."""
    return {name: size for store in STORES for name, size in store.claims(wanted, facts).items()}
