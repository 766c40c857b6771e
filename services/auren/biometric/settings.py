"""Settings of the biometric production service."""

from typing import Annotated

from pydantic import Field

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
    neuros_url: Annotated[str | None, Field(pattern=r"^https?://[^\s/]+$")] = None
    """Address of NEUROS, without a path; None where it is switched off."""
