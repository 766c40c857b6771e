"""Kafka's files: what is the same on every node, and the script that adds what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from auren_operator.api.certificates import CERTIFICATE, KEY
from auren_operator.api.names import SECRETS_DIR
from auren_operator.api.spec import KafkaSpec
from auren_operator.components.kafka_terra import ADDRESSES, PROPERTIES, TLS_DIR
from auren_operator.manifests.network import KAFKA_CONTROLLER_PORT, KAFKA_PORT

START: Final = f"""\
# Adds what differs from node to node, formats an empty volume, and becomes the broker.
set -eu
node=${{POD_NAME##*-}}
config=/tmp/server.properties
addresses=CLIENT://$POD_NAME.$DOMAIN:{KAFKA_PORT}
{{
  cat /etc/auren/server.properties
  echo "node.id=$node"
  if [ -s {TLS_DIR}/{KEY} ] && [ -s {TLS_DIR}/{CERTIFICATE} ]; then
    cat /etc/auren/{PROPERTIES}
    addresses=$addresses,TERRA://$(sed -n "$((node + 1))p" /etc/auren/{ADDRESSES})
  fi
  echo "advertised.listeners=$addresses"
}} >"$config"
if [ ! -f /var/lib/kafka/data/meta.properties ]; then
  echo "formatting the empty volume of node $node"
  # it may print credentials on its standard output: they do not belong into the log
  /opt/kafka/bin/kafka-storage.sh format --ignore-formatted --config "$config" \\
    --cluster-id "$(cat {SECRETS_DIR}/cluster-id)" >/dev/null
fi
exec /opt/kafka/bin/kafka-server-start.sh "$config"
"""

LOG4J: Final = """\
# To standard output only: the default configuration also fills files.
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = stdout
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = [%d{ISO8601}] %p %m (%c)%n
logger.kafka.name = kafka.server.KafkaRaftServer
logger.kafka.level = info
"""

MEBIBYTE: Final = 1 << 20


def server_properties(spec: KafkaSpec, name: str, domain: str, count: int) -> str:
    """The configuration that all ``count`` nodes share; ``domain`` is that of the Service, ``name`` the StatefulSet's.

    What people may change comes before what their `config` says, what must not change after it: the last line wins.
    """
    groups = (_defaults(spec, count), spec.config, _quorum(name, domain, count), _security())
    return "".join(_line(key, value) for group in groups for key, value in group.items())


def _line(key: str, value: str) -> str:
    """One property; backslashes and line breaks are escaped as java.util.Properties reads them."""
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{key}={escaped}\n"


def _defaults(spec: KafkaSpec, count: int) -> Mapping[str, str]:
    """Replication by the number of nodes; caches small enough for the heap (half of the memory limit)."""
    copies = min(count, 3)
    in_sync = 2 if copies > 1 else 1
    cleaner_bytes = min(128 * MEBIBYTE, max(8 * MEBIBYTE, spec.resources.memory_limit_bytes // 32))
    return {
        "num.partitions": str(spec.partitions),
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(copies),
        "offsets.topic.num.partitions": "10",
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        "transaction.state.log.num.partitions": "10",
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        "group.initial.rebalance.delay.ms": "500",
        "log.cleaner.dedupe.buffer.size": str(cleaner_bytes),
    }


def _quorum(name: str, domain: str, count: int) -> Mapping[str, str]:
    voters = (f"{node}@{name}-{node}.{domain}:{KAFKA_CONTROLLER_PORT}" for node in range(count))
    return {
        "process.roles": "broker,controller",
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"CLIENT://:{KAFKA_PORT},CONTROLLER://:{KAFKA_CONTROLLER_PORT}",
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        "log.dirs": "/var/lib/kafka/data",
        "auto.create.topics.enable": "false",
    }


def _security() -> Mapping[str, str]:
    """Who comes in and what they may do; the password is read from the mounted Secret by Kafka itself."""
    password = f"${{secret:{SECRETS_DIR}:admin-password}}"
    plain = (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="kafka-admin" password="{password}" user_kafka-admin="{password}";'
    )
    return {
        "config.providers": "secret",
        "config.providers.secret.class": "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
        "config.providers.secret.param.allowed.paths": SECRETS_DIR,
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.client.plain.sasl.jaas.config": plain,
        "listener.name.controller.plain.sasl.jaas.config": plain,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:kafka-admin",
        "allow.everyone.if.no.acl.found": "false",
    }
