"""Settings of NEUROS."""

from typing import Annotated

from pydantic import Field

from auren.neuros.guard.settings import VoiceSettings
from auren.neuros.interventions.settings import RoomSettings
from auren.neuros.memory import EmbeddingSettings
from auren.neuros.models import ModelSettings
from auren.settings import DatabaseSettings, ModeSettings, Port, ServiceSettings


class NeurosSettings(
    ModelSettings,
    EmbeddingSettings,
    RoomSettings,
    VoiceSettings,
    DatabaseSettings,
    ModeSettings,
    ServiceSettings,
):
    """PostgreSQL to read what was learnt and to keep sessions and memories in, Redis, Chroma, Kafka; a model."""

    port: Port = 8000
    database_pool_size: Annotated[int, Field(ge=2, le=100)] = 4
    session_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """A session of which nothing was heard for so long is forgotten."""

    @property
    def session_connections(self) -> int:
        """The sessions' share of the connections: they have a pool of their own, by another driver."""
        return self.database_pool_size // 2

    def without_sessions(self) -> "NeurosSettings":
        """These settings with what the sessions leave of the connections."""
        return self.model_copy(update={"database_pool_size": self.database_pool_size - self.session_connections})
