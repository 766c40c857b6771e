"""What the biometric service stores of a person beside the tables: `people.state`, which NEUROS reads too."""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar

import msgspec

from auren.modes.machine import INITIAL, ModeState


class Held(msgspec.Struct, frozen=True, array_like=True):
    """The latest trusted value of a metric, where it came from, and the value that it followed."""

    value: float
    time: datetime
    version: int
    source: str
    provider: str
    document_id: str
    before: float | None = None
    derived: ClassVar[bool] = False
    """The rules take it as it is: no device sends what is derived."""


class PersonState(msgspec.Struct, frozen=True):
    """What is stored in `people.state`, beside the clock and what the tables of days, nights and patterns hold."""

    offset_minutes: int = 0
    held: dict[str, Held] = {}
    mode: ModeState = INITIAL
    patterns_day: date | None = None
