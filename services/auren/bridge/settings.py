"""Settings of the bridge's two processes."""

from __future__ import annotations

from auren.settings import DatabaseSettings, KafkaSettings, Port, RedisSettings, ServiceSettings


class BridgeSettings(KafkaSettings, DatabaseSettings, RedisSettings, ServiceSettings):
    """`serve`: the webhooks. The database holds the revoked tokens."""

    port: Port = 8889


class CollectorSettings(KafkaSettings, DatabaseSettings, RedisSettings, ServiceSettings):
    """`collect`: no API of its own; health and metrics each have a port."""

    health_port: Port = 8890
    metrics_port: Port = 9465
