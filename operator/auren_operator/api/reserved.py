"""Settings of the stores that the operator makes itself, and that `spec.<store>.config` may therefore not set.

They decide where a store listens, keeps its data and whom it lets in: a wrong one would cut the services off, lose
data or open the store. Everything else may be tuned.
"""

from __future__ import annotations

from typing import Final

KAFKA: Final = (
    "advertised.listeners",
    "allow.everyone.if.no.acl.found",
    "authorizer.class.name",
    "auto.create.topics.enable",
    "broker.id",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "early.start.listeners",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
    "principal.builder.class",
    "process.roles",
    "security.inter.broker.protocol",
    "super.users",
)
KAFKA_PREFIXES: Final = ("config.providers", "listener.name.", "sasl.", "ssl.")

TIMESCALEDB: Final = (
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "huge_pages",
    "ident_file",
    "include",
    "include_dir",
    "include_if_exists",
    "listen_addresses",
    "logging_collector",
    "max_connections",
    "password_encryption",
    "port",
    "reserved_connections",
    "shared_preload_libraries",
    "superuser_reserved_connections",
    "timescaledb.telemetry_level",
    "unix_socket_directories",
    "unix_socket_permissions",
)
TIMESCALEDB_PREFIXES: Final = ("ssl",)

REDIS: Final = (
    "aclfile",
    "appenddirname",
    "appendfilename",
    "appendonly",
    "bind",
    "daemonize",
    "dbfilename",
    "dir",
    "include",
    "loadmodule",
    "logfile",
    "masterauth",
    "masteruser",
    "pidfile",
    "port",
    "protected-mode",
    "rename-command",
    "replicaof",
    "requirepass",
    "save",
    "slaveof",
    "supervised",
    "unixsocket",
    "unixsocketperm",
    "user",
)
REDIS_PREFIXES: Final = ("tls-",)

LABEL_PREFIXES: Final = ("aupex.ai/", "app.kubernetes.io/")
"""Labels of pods that selectors and network policies rely on."""

ANNOTATION_PREFIXES: Final = ("aupex.ai/",)
