"""Settings of the biometric production service."""

from auren.settings import (
    DatabaseSettings,
    KafkaSettings,
    ModeSettings,
    Port,
    RedisSettings,
    RetentionSettings,
    ServiceSettings,
)


class BiometricSettings(
    KafkaSettings, DatabaseSettings, RetentionSettings, ModeSettings, RedisSettings, ServiceSettings
):
    """Kafka to consume from, PostgreSQL to store in, Redis to keep hot values in."""

    port: Port = 8888
    neuros_url: str | None = None
