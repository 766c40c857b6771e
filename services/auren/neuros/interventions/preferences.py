"""What a person wants of interventions, and what their clock says. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from auren.neuros.interventions.settings import InterventionSettings

MOST_A_DAY: Final = 48


class QuietHours(msgspec.Struct, frozen=True, kw_only=True):
    """From `start` to before `end` by the person's clock; over midnight where `end` is the earlier one."""

    start: time
    end: time

    def hold(self, local: datetime) -> bool:
        """Whether they hold at a moment of the person's clock.

        The clock on the wall counts. So an hour that a change of the clock skips is never met, and one that comes twice
        is quiet twice.
        """
        now = local.time()
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """One person's. `timezone` is an IANA name; `quiet_hours` None: none."""

    enabled: bool
    quiet_hours: QuietHours | None
    timezone: str
    daily_cap: int

    def local(self, moment: datetime) -> datetime:
        """The person's clock. Raises KeyError or ValueError for a time zone that this machine does not know."""
        return moment.astimezone(ZoneInfo(self.timezone))

    def day_began(self, moment: datetime) -> datetime:
        """When the person's day of a moment began, in UTC; raises as `local` does.

        Where a change of the clock skips midnight, the day begins with the change.
        """
        return self.local(moment).replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Preferences)


def defaults(settings: InterventionSettings) -> Preferences:
    """Of somebody who has said nothing: nothing is offered before a person asks for it."""
    return Preferences(
        enabled=False,
        quiet_hours=QuietHours(start=settings.interventions_quiet_from, end=settings.interventions_quiet_to),
        timezone=settings.interventions_timezone,
        daily_cap=settings.interventions_daily_cap,
    )


def pack(preferences: Preferences) -> str:
    """As the table's column holds them."""
    return _encoder.encode(preferences).decode()


def unpack(column: str) -> Preferences:
    """From the table's column."""
    return _decoder.decode(column)
