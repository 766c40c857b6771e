"""Settings of interventions: how often, how late and when nobody is disturbed."""

from __future__ import annotations

from datetime import time
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from auren.settings import KafkaSettings, RedisSettings, Settings


class InterventionSettings(Settings):
    """What holds for everybody; cap and quiet hours are what a person gets who has not set others."""

    interventions_cooldown_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """Least time between two interventions of one person."""

    interventions_stale_seconds: Annotated[int, Field(ge=10, le=86_400)] = 600
    """A switch of the mode that is older is not acted on: the moment has passed."""

    interventions_daily_cap: Annotated[int, Field(ge=1, le=48)] = 6
    """Interventions of one person on one day of theirs."""

    interventions_quiet_from: time = time(22, 0)
    interventions_quiet_to: time = time(7, 0)
    interventions_timezone: str = "UTC"
    """IANA name: where a person lives who has named no time zone."""

    @field_validator("interventions_timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):  # a missing zone is a KeyError, a folder's name an OSError
            raise ValueError("is no IANA time zone such as Europe/Berlin") from None
        return value

    @field_validator("interventions_quiet_from", "interventions_quiet_to")
    @classmethod
    def _of_the_wall(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("is a time of the person's own clock, without a zone")
        return value


class RoomSettings(InterventionSettings, KafkaSettings, RedisSettings):
    """What the room needs of the service's settings."""
