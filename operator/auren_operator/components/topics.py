"""The topics Job: topics, the services' SCRAM users with their passwords, and what each of them may do."""

from __future__ import annotations

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.components import biometric, bridge, kafka, neuros
from auren_operator.manifests.jobs import preparation
from auren_operator.manifests.meta import child_name
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.services import KAFKA_LOGIN, role
from auren_operator.manifests.wiring import Wiring

COMPONENT = Component(name="topics", workload="Job", needs=("kafka",))

CLIENTS = (bridge.COMPONENT, biometric.COMPONENT, neuros.COMPONENT)


def secrets(stack: Stack) -> list[SecretSpec]:
    """None of its own: it mounts the administrator's password and those of the users that it makes."""
    return []


def build(stack: Stack, facts: Facts) -> Built:
    """The Job for the Kafka that there is now."""
    env = {
        names.ENV_KAFKA_PARTITIONS: str(stack.kafka.partitions),
        names.ENV_KAFKA_REPLICATION: str(kafka.replication(stack, facts)),
        names.ENV_KAFKA_TERRA: str(stack.bridge.terra_kafka is not None).lower(),
    }
    users = {f"auren_kafka_user_password_{role(one)}": (child_name(stack, one), KAFKA_LOGIN) for one in CLIENTS}
    wiring = kafka.admin(stack) | Wiring(env, users)
    return preparation(stack, COMPONENT, facts, "auren.kafka_admin", wiring, list(kafka.claims(stack, facts)))
