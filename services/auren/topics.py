"""The topics, their sizes, and who may read and write them. Pure data: the topics Job applies it, the services use it.

Automatic creation is off on the broker, so a topic that does not stand here does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 24 * 60 * 60 * 1000
_MIB: Final = 1024 * 1024

MAX_BODY_BYTES: Final = 16 * _MIB
"""The largest webhook body; record, topic, producer and fetch sizes below leave room for headers and framing."""
MAX_DELIVERY_BYTES: Final = 17 * _MIB
MAX_DEAD_LETTER_BYTES: Final = 18 * _MIB


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. Partitions follow the stack's size, within the topic's own bounds."""

    name: str
    retention_ms: int
    max_message_bytes: int
    keyed_by: str
    most_partitions: int = 1000
    partition_divisor: int = 1

    def partitions(self, wanted: int) -> int:
        """Number of partitions where the stack's size asks for `wanted` (3 in demo, 12 in large)."""
        return min(self.most_partitions, max(1, wanted // self.partition_divisor))

    def config(self) -> dict[str, str]:
        """Topic configuration as the broker takes it."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
            "compression.type": "producer",
        }


def dead_letters(topic: Topic) -> Topic:
    """The dead letter topic of a topic: `<name>.dlq`, kept for 30 days, with room for the added headers."""
    return Topic(
        name=f"{topic.name}.dlq",
        retention_ms=30 * _DAY_MS,
        max_message_bytes=min(topic.max_message_bytes + _MIB, MAX_DEAD_LETTER_BYTES),
        keyed_by=topic.keyed_by,
        partition_divisor=4,
    )


WEBHOOKS: Final = Topic("biometric-webhooks", 7 * _DAY_MS, MAX_DELIVERY_BYTES, keyed_by="none")
EVENTS: Final = Topic("biometric-events", 7 * _DAY_MS, 2 * _MIB, keyed_by="user id")
TERRA: Final = Topic("terra-biometric-events", 7 * _DAY_MS, 2 * _MIB, keyed_by="none")
MODE_SWITCHES: Final = Topic("neuros-mode-switches", 30 * _DAY_MS, _MIB, keyed_by="user id", most_partitions=6)
INTERVENTIONS: Final = Topic("neuros-interventions", 30 * _DAY_MS, _MIB, keyed_by="user id", most_partitions=6)

WEBHOOKS_DLQ: Final = dead_letters(WEBHOOKS)
EVENTS_DLQ: Final = dead_letters(EVENTS)
TERRA_DLQ: Final = dead_letters(TERRA)
MODE_SWITCHES_DLQ: Final = dead_letters(MODE_SWITCHES)
INTERVENTIONS_DLQ: Final = dead_letters(INTERVENTIONS)

TOPICS: Final = (
    WEBHOOKS,
    WEBHOOKS_DLQ,
    EVENTS,
    EVENTS_DLQ,
    TERRA,
    TERRA_DLQ,
    MODE_SWITCHES,
    MODE_SWITCHES_DLQ,
    INTERVENTIONS,
    INTERVENTIONS_DLQ,
)

BRIDGE_GROUP: Final = "bridge-collector"
BIOMETRIC_GROUP: Final = "biometric"
NEUROS_GROUP: Final = "neuros"


@dataclass(frozen=True, slots=True)
class Access:
    """What one Kafka user may do; everything else is denied by the broker."""

    user: str
    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]
    groups: tuple[str, ...]


ACCESS: Final = (
    Access(
        user="biometric-bridge",
        reads=(WEBHOOKS, WEBHOOKS_DLQ, TERRA, TERRA_DLQ),
        writes=(
            WEBHOOKS,
            WEBHOOKS_DLQ,
            EVENTS,
            TERRA,
            TERRA_DLQ,
        ),  # the logs themselves too: the replay of dead letters
        groups=(BRIDGE_GROUP,),
    ),
    Access(
        user="biometric-production",
        reads=(EVENTS, EVENTS_DLQ, MODE_SWITCHES),  # its own decisions: which of them are there already
        writes=(WEBHOOKS, EVENTS, EVENTS_DLQ, MODE_SWITCHES),
        groups=(BIOMETRIC_GROUP,),
    ),
    Access(
        user="neuros-advanced",
        # its own interventions: which of them are there already
        reads=(EVENTS, MODE_SWITCHES, MODE_SWITCHES_DLQ, INTERVENTIONS),
        writes=(INTERVENTIONS, EVENTS_DLQ, MODE_SWITCHES, MODE_SWITCHES_DLQ),
        groups=(NEUROS_GROUP,),
    ),
)

TERRA_ACCESS: Final = Access(user="terra", reads=(), writes=(TERRA,), groups=())
"""Terra itself, where it delivers through Kafka. It comes in by a listener of its own with a password that Kafka reads
from a file, so it is no SCRAM user and has no password here."""
