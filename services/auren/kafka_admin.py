"""`python -m auren.kafka_admin`: the topics Job. Topics, users and rights on the broker are what topics.py says.

It waits for the brokers (as many as the replication needs), then: makes missing topics, raises partitions that are
fewer than wanted, sets retention and sizes; sets each user's SCRAM-SHA-512 password; grants what the table grants and
takes away the rest. All of it may run again at any time. Kafka cannot lower a number of
partitions, so more than wanted stay.
"""

import logging
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Annotated, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import Field, SecretStr

from auren.settings import KafkaSettings, LogSettings, load
from auren.telemetry import configure_logging, logger
from auren.topics import ACCESS, TERRA_ACCESS, TOPICS, Access, Topic

log = logger(__name__)

REQUEST_TIMEOUT_SECONDS = 15.0
LOOK_TIMEOUT_SECONDS = 5.0
"""How long the first question of an attempt may take: a broker that is away is noticed by it."""
PAUSE_SECONDS = 2.0
SCRAM_ITERATIONS = 8192
"""Rounds of the password hash; Kafka takes at least 4096. The passwords are random, so more would gain nothing."""


class TopicSettings(KafkaSettings, LogSettings):
    """An administrator's access to the brokers, the stack's size, and the passwords of the services' users."""

    kafka_partitions: Annotated[int, Field(ge=1, le=1000)] = 3
    kafka_replication: Annotated[int, Field(ge=1, le=3)] = 1
    kafka_terra: bool = False
    """Whether Terra may write into its topic by itself."""
    kafka_user_password_biometric_bridge: SecretStr
    kafka_user_password_biometric_production: SecretStr
    kafka_user_password_neuros_advanced: SecretStr
    kafka_wait_seconds: float = 300.0

    def user_passwords(self) -> dict[str, str]:
        """Password by Kafka user."""
        return {
            access.user: getattr(self, f"kafka_user_password_{access.user.replace('-', '_')}").get_secret_value()
            for access in ACCESS
        }


class BrokerAwayError(Exception):
    """The brokers did not do what was asked in time."""


def run(settings: TopicSettings) -> None:
    """Apply topics, users and rights. Raises BrokerAwayError after `kafka_wait_seconds` without success.

    Every refusal is tried again until then: a broker that starts refuses in many ways (unreachable, password not known
    yet, too few brokers for the replication), and all steps are idempotent.
    """
    client = admin(settings)
    deadline = time.monotonic() + settings.kafka_wait_seconds
    while True:
        try:
            apply(client, settings)
        except KafkaException as error:
            reason = error.args[0].str()
            if time.monotonic() + PAUSE_SECONDS > deadline:
                raise BrokerAwayError(f"gave up after {settings.kafka_wait_seconds:.0f} s: {reason}") from error
            log.info("waiting for Kafka", reason=reason, again_in_seconds=PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)
        else:
            return


def admin(settings: KafkaSettings) -> AdminClient:
    """A client for the brokers; it connects in the background. librdkafka's own lines go where ours go."""
    password = settings.kafka_password.get_secret_value() if settings.kafka_password else ""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "security.protocol": settings.kafka_security,
        "socket.timeout.ms": int(REQUEST_TIMEOUT_SECONDS * 1000),
        "client.id": "auren-topics",
    }
    if settings.kafka_security != "PLAINTEXT":
        options |= {
            "sasl.mechanism": settings.kafka_mechanism,
            "sasl.username": settings.kafka_username,
            "sasl.password": password,
        }
    return AdminClient(options, logger=logging.getLogger("librdkafka"))


def apply(client: AdminClient, settings: TopicSettings) -> None:
    """Bring the brokers to what topics.py says, once. Raises KafkaException."""
    partitions = {name: len(topic.partitions) for name, topic in _topics(client).items()}
    for topic in TOPICS:
        _ensure_topic(client, topic, partitions.get(topic.name), settings)
    if settings.kafka_security != "PLAINTEXT":
        _ensure_users(client, settings.user_passwords())
        _ensure_rights(client, (*ACCESS, TERRA_ACCESS) if settings.kafka_terra else ACCESS)
    log.info("Kafka is ready", topics=len(TOPICS), users=[access.user for access in ACCESS])


def _topics(client: AdminClient) -> Mapping[str, Any]:
    topics: Mapping[str, Any] = client.list_topics(timeout=LOOK_TIMEOUT_SECONDS).topics
    return topics


def _ensure_topic(client: AdminClient, topic: Topic, partitions: int | None, settings: TopicSettings) -> None:
    wanted = topic.partitions(settings.kafka_partitions)
    config = topic.config() | {"min.insync.replicas": str(max(1, settings.kafka_replication - 1))}
    if partitions is None:
        new = NewTopic(topic.name, wanted, settings.kafka_replication, config=config)
        _done(client.create_topics([new], request_timeout=REQUEST_TIMEOUT_SECONDS))
        log.info("topic made", topic=topic.name, partitions=wanted)
        return
    if partitions < wanted:
        _done(client.create_partitions([NewPartitions(topic.name, wanted)], request_timeout=REQUEST_TIMEOUT_SECONDS))
        log.info("partitions raised", topic=topic.name, before=partitions, partitions=wanted)
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
    _done(client.incremental_alter_configs([resource], request_timeout=REQUEST_TIMEOUT_SECONDS))


def _ensure_users(client: AdminClient, passwords: Mapping[str, str]) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
    users = [UserScramCredentialUpsertion(user, info, password.encode()) for user, password in passwords.items()]
    _done(client.alter_user_scram_credentials(users, request_timeout=REQUEST_TIMEOUT_SECONDS))


def _ensure_rights(client: AdminClient, granted: Iterable[Access]) -> None:
    """Grant what these may do, and take away what else the users have that we know."""
    wanted = {acl for access in granted for acl in rights(access)}
    present = {acl for access in (*ACCESS, TERRA_ACCESS) for acl in _present(client, access.user)}
    if missing := sorted(wanted - present):
        _done(client.create_acls(missing, request_timeout=REQUEST_TIMEOUT_SECONDS))
    if excess := sorted(present - wanted):
        filters = [
            AclBindingFilter(
                acl.restype,
                acl.name,
                acl.resource_pattern_type,
                acl.principal,
                acl.host,
                acl.operation,
                acl.permission_type,
            )
            for acl in excess
        ]
        _done(client.delete_acls(filters, request_timeout=REQUEST_TIMEOUT_SECONDS))
    if missing or excess:
        log.info("rights changed", granted=len(missing), taken_away=len(excess))


def _present(client: AdminClient, user: str) -> list[AclBinding]:
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        f"User:{user}",
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found: list[AclBinding] = client.describe_acls(everything, request_timeout=REQUEST_TIMEOUT_SECONDS).result()
    return found


def rights(access: Access) -> list[AclBinding]:
    """The ACLs of one user: read or write on its topics, read on its groups, and to see what it may use."""
    topics = {topic.name: {AclOperation.READ, AclOperation.DESCRIBE} for topic in access.reads}
    for topic in access.writes:
        topics.setdefault(topic.name, set()).update({AclOperation.WRITE, AclOperation.DESCRIBE})
    bindings = [
        _allow(access.user, ResourceType.TOPIC, name, operation)
        for name, operations in topics.items()
        for operation in operations
    ]
    return bindings + [_allow(access.user, ResourceType.GROUP, group, AclOperation.READ) for group in access.groups]


def _allow(user: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)


def _done(futures: Mapping[Any, "Future[Any]"]) -> None:
    """Wait for all, then raise the first refusal, so that one topic's does not keep the others from being made."""
    refused = [error for future in futures.values() if (error := future.exception(REQUEST_TIMEOUT_SECONDS + 5))]
    for error in refused:
        raise error


def main() -> int:
    """Run the Job once; Kubernetes runs it again when it fails."""
    settings = load(TopicSettings)
    configure_logging(settings, "topics")
    try:
        run(settings)
    except BrokerAwayError as error:
        log.error("Kafka is not ready", reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
