"""Topics and rights as services.md's table has them."""

from __future__ import annotations

from auren import topics
from auren.topics import ACCESS, TOPICS


def test_sizes_of_demo_and_large() -> None:
    assert {t.name: (t.partitions(3), t.partitions(12)) for t in TOPICS} == {
        "biometric-webhooks": (3, 12),
        "biometric-webhooks.dlq": (1, 3),
        "biometric-events": (3, 12),
        "biometric-events.dlq": (1, 3),
        "terra-biometric-events": (3, 12),
        "terra-biometric-events.dlq": (1, 3),
        "neuros-mode-switches": (3, 6),
        "neuros-mode-switches.dlq": (1, 3),
        "neuros-interventions": (3, 6),
        "neuros-interventions.dlq": (1, 3),
    }


def test_retention_and_sizes() -> None:
    days = {t.name: t.retention_ms / 86_400_000 for t in TOPICS}
    assert {n: d for n, d in days.items() if d != 30} == {
        "biometric-webhooks": 7,
        "biometric-events": 7,
        "terra-biometric-events": 7,
    }
    assert topics.MAX_BODY_BYTES < topics.WEBHOOKS.max_message_bytes < topics.WEBHOOKS_DLQ.max_message_bytes
    assert topics.WEBHOOKS_DLQ.max_message_bytes == 18 * 1024 * 1024


def test_a_dead_letter_may_be_written_by_whoever_reads_the_topic() -> None:
    dead = {t.name.removesuffix(".dlq"): t for t in TOPICS if t.name.endswith(".dlq")}
    for access in ACCESS:
        for topic in access.reads:
            # Whoever sends from an outbox reads its own records back, to know which of them are there.
            own = {("biometric-production", topics.MODE_SWITCHES), ("neuros-advanced", topics.INTERVENTIONS)}
            if topic.name in dead and (access.user, topic) not in own:
                assert dead[topic.name] in access.writes, (access.user, topic.name)


def test_nobody_shares_a_group_and_only_the_bridge_reads_raw_deliveries() -> None:
    groups = [group for access in ACCESS for group in access.groups]
    assert len(groups) == len(set(groups))
    assert [a.user for a in ACCESS if topics.WEBHOOKS in a.reads] == ["biometric-bridge"]
    assert [a.user for a in ACCESS if topics.EVENTS in a.writes] == ["biometric-bridge", "biometric-production"]
