"""Settings of NEUROS."""

from typing import Annotated

from pydantic import Field

from auren.settings import (
    ChromaSettings,
    DatabaseSettings,
    KafkaSettings,
    ModeSettings,
    Port,
    RedisSettings,
    ServiceSettings,
)


class NeurosSettings(KafkaSettings, DatabaseSettings, ModeSettings, RedisSettings, ChromaSettings, ServiceSettings):
    """PostgreSQL and Redis to read values from, PostgreSQL to keep sessions in; Chroma is only looked for.

    Kafka's settings are read for what will come over it; nothing connects to it yet.
    """

    port: Port = 8000
    database_pool_size: Annotated[int, Field(ge=2, le=100)] = 4

    @property
    def session_connections(self) -> int:
        """The sessions' share of the connections: they have a pool of their own, by another driver."""
        return self.database_pool_size // 2

    def without_sessions(self) -> "NeurosSettings":
        """These settings with what the sessions leave of the connections."""
        return self.model_copy(update={"database_pool_size": self.database_pool_size - self.session_connections})
