"""The migrations Job: schema, the services' roles with their passwords and rights, LangGraph's tables."""

from __future__ import annotations

from auren_operator.api.spec import Stack
from auren_operator.components import biometric, bridge, neuros, timescaledb
from auren_operator.manifests.jobs import preparation
from auren_operator.manifests.meta import child_name
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.services import DATABASE_LOGIN, role
from auren_operator.manifests.wiring import Wiring

COMPONENT = Component(name="migrations", workload="Job", needs=("timescaledb",))

CLIENTS = (bridge.COMPONENT, biometric.COMPONENT, neuros.COMPONENT)


def secrets(stack: Stack) -> list[SecretSpec]:
    """None of its own: it mounts the administrator's password and those of the roles that it makes."""
    return []


def build(stack: Stack, facts: Facts) -> Built:
    """The Job for the database as it is now."""
    roles = {f"auren_role_password_{role(one)}": (child_name(stack, one), DATABASE_LOGIN) for one in CLIENTS}
    wiring = timescaledb.admin(stack) | timescaledb.retention(stack) | Wiring(files=roles)
    return preparation(stack, COMPONENT, facts, "auren.migrations", wiring, list(timescaledb.claims(stack, facts)))
