"""The topics Job on a broker of its own: what topics.py says is there, again changes nothing, and users keep apart."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, TopicAuthorizationFailedError
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from pydantic import SecretStr

from auren import kafka_admin
from auren.topics import ACCESS, EVENTS, EVENTS_DLQ, TOPICS, WEBHOOKS, Access, Topic
from tests.api import stores
from tests.api.processes import Servers


@dataclass
class Bench:
    """A broker and the passwords that the Job gives its users."""

    kafka: stores.Kafka
    passwords: dict[str, str] = field(default_factory=lambda: {a.user: secrets.token_urlsafe(16) for a in ACCESS})

    def settings(
        self, *, partitions: int = 3, wait_seconds: float = 60, terra: bool = False
    ) -> kafka_admin.TopicSettings:
        """The Job's settings."""
        users = {f"kafka_user_password_{u.replace('-', '_')}": SecretStr(p) for u, p in self.passwords.items()}
        return kafka_admin.TopicSettings.model_validate(
            {
                "kafka_bootstrap": self.kafka.bootstrap,
                "kafka_mechanism": "PLAIN",
                "kafka_username": self.kafka.admin_username,
                "kafka_password": SecretStr(self.kafka.admin_password),
                "kafka_partitions": partitions,
                "kafka_wait_seconds": wait_seconds,
                "kafka_terra": terra,
                **users,
            }
        )

    @cached_property
    def admin(self) -> AdminClient:
        """The administrator's client."""
        return kafka_admin.admin(self.settings())

    def client(self, user: str) -> dict[str, Any]:
        """How a user connects."""
        return {
            "bootstrap_servers": self.kafka.bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": self.passwords[user],
        }


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A broker of its own: users and rights belong to a broker as a whole."""
    with Servers("topics") as servers:
        bench = Bench(stores.start_kafka(servers))
        kafka_admin.run(bench.settings())
        yield bench


def partitions(bench: Bench) -> dict[str, int]:
    found = bench.admin.list_topics(timeout=10).topics
    return {topic.name: len(found[topic.name].partitions) for topic in TOPICS if topic.name in found}


def rights(bench: Bench) -> set[AclBinding]:
    anything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    return set(bench.admin.describe_acls(anything).result(10))


def config(bench: Bench, topic: Topic) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    (future,) = bench.admin.describe_configs([resource]).values()
    return {name: entry.value for name, entry in future.result(10).items()}


def test_every_topic_is_there_as_the_table_says(bench: Bench) -> None:
    assert partitions(bench) == {topic.name: topic.partitions(3) for topic in TOPICS}
    for topic in TOPICS:
        assert config(bench, topic).items() >= topic.config().items()


def test_again_changes_nothing_and_fewer_partitions_are_not_asked_for(bench: Bench) -> None:
    before = partitions(bench), rights(bench)
    kafka_admin.run(bench.settings())
    kafka_admin.run(bench.settings(partitions=1))
    assert (partitions(bench), rights(bench)) == before


def test_a_changed_retention_is_put_right(bench: Bench) -> None:
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, EVENTS.name, incremental_configs=[entry])
    for future in bench.admin.incremental_alter_configs([resource]).values():
        future.result(10)
    assert config(bench, EVENTS)["retention.ms"] == "1000"
    kafka_admin.run(bench.settings())
    assert config(bench, EVENTS)["retention.ms"] == str(EVENTS.retention_ms)


def test_only_what_the_table_grants_is_granted(bench: Bench) -> None:
    too_much = AclBinding(
        ResourceType.TOPIC,
        EVENTS.name,
        ResourcePatternType.LITERAL,
        "User:biometric-bridge",
        "*",
        AclOperation.ALL,
        AclPermissionType.ALLOW,
    )
    somebodys = AclBinding(
        ResourceType.TOPIC,
        "their-topic",
        ResourcePatternType.LITERAL,
        "User:somebody",
        "*",
        AclOperation.READ,
        AclPermissionType.ALLOW,
    )
    for future in bench.admin.create_acls([too_much, somebodys]).values():
        future.result(10)
    kafka_admin.run(bench.settings())
    wanted = {binding for access in ACCESS for binding in kafka_admin.rights(access)}
    assert rights(bench) == wanted | {somebodys}


def of_terra(bench: Bench) -> set[tuple[str, AclOperation]]:
    """(topic, operation) of all that Terra may do."""
    return {(acl.name, acl.operation) for acl in rights(bench) if acl.principal == "User:terra"}


def test_terra_may_write_to_its_topic_while_it_is_on_and_nothing_once_it_is_off(bench: Bench) -> None:
    kafka_admin.run(bench.settings(terra=True))
    may = {("terra-biometric-events", AclOperation.WRITE), ("terra-biometric-events", AclOperation.DESCRIBE)}
    assert of_terra(bench) == may
    too_much = AclBinding(
        ResourceType.TOPIC,
        EVENTS.name,
        ResourcePatternType.LITERAL,
        "User:terra",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    for future in bench.admin.create_acls([too_much]).values():
        future.result(10)
    kafka_admin.run(bench.settings(terra=True))
    assert of_terra(bench) == may
    kafka_admin.run(bench.settings())
    assert of_terra(bench) == set()
    users = bench.admin.describe_user_scram_credentials().result(10)
    assert set(users) == {access.user for access in ACCESS}, "Terra's password is not among the services'"


@pytest.mark.parametrize("access", ACCESS, ids=lambda access: access.user)
async def test_a_user_writes_to_its_topics_and_to_no_other(bench: Bench, access: Access) -> None:
    allowed = set()
    async with AIOKafkaProducer(enable_idempotence=True, **bench.client(access.user)) as producer:
        for topic in TOPICS:
            try:
                await producer.send_and_wait(topic.name, b"{}")
            except TopicAuthorizationFailedError:
                continue
            allowed.add(topic.name)
    assert allowed == {topic.name for topic in access.writes}


@pytest.mark.parametrize("access", ACCESS, ids=lambda access: access.user)
def test_a_user_reads_its_topics_and_no_other(bench: Bench, access: Access) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bench.kafka.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": access.user,
            "sasl.password": bench.passwords[access.user],
            "group.id": access.groups[0],
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    # A topic that a user may not even describe is not listed.
    listed = [topic.name for topic in TOPICS if topic.name in consumer.list_topics(timeout=10).topics]
    assert listed == [topic.name for topic in TOPICS if topic in {*access.reads, *access.writes}]
    consumer.assign([TopicPartition(name, 0, 0) for name in listed])
    answers: dict[str, bool] = {}

    def all_answered() -> bool:
        message = consumer.poll(0.2)
        error = message.error() if message is not None else None
        if message is not None and error is not None and message.topic() is not None:
            answers[str(message.topic())] = error.code() == KafkaError._PARTITION_EOF
        return len(answers) == len(listed)

    bench.kafka.server.wait_until(all_answered, "answering for every topic")
    consumer.close()
    assert {name for name, allowed in answers.items() if allowed} == {topic.name for topic in access.reads}


async def test_a_user_cannot_join_the_group_of_another(bench: Bench) -> None:
    async def join() -> None:
        async with AIOKafkaConsumer(EVENTS.name, group_id="neuros", **bench.client("biometric-production")) as consumer:
            await consumer.getmany(timeout_ms=2000)

    with pytest.raises(GroupAuthorizationFailedError):
        await join()


async def test_a_new_password_takes_effect_and_the_old_one_ends(bench: Bench) -> None:
    old = bench.client("neuros-advanced")
    bench.passwords["neuros-advanced"] = secrets.token_urlsafe(16)
    await asyncio.to_thread(kafka_admin.run, bench.settings())
    async with AIOKafkaProducer(**bench.client("neuros-advanced")):
        pass
    refused = AIOKafkaProducer(**old)
    with pytest.raises(KafkaConnectionError):
        await refused.start()
    await refused.stop()


def test_it_gives_up_with_the_reason_when_no_broker_comes() -> None:
    settings = Bench(stores.Kafka(None, "127.0.0.1:1", "kafka-admin", "x")).settings(wait_seconds=1)  # type: ignore[arg-type]  # no server at all
    with pytest.raises(kafka_admin.BrokerAwayError, match="gave up after 1 s"):
        kafka_admin.run(settings)


def test_more_partitions_are_made_when_the_stack_grows(bench: Bench) -> None:
    kafka_admin.run(bench.settings(partitions=12))
    wanted = {topic.name: topic.partitions(12) for topic in TOPICS}
    assert (wanted[WEBHOOKS.name], wanted[EVENTS_DLQ.name]) == (12, 3)
    # What the brokers tell clients follows a moment later.
    bench.kafka.server.wait_until(lambda: partitions(bench) == wanted, "telling the new partitions")
