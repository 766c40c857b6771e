"""Readers of single values as providers write them. What cannot be read raises UnreadableError with a reason's name."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

LONGEST_TEXT: Final = 128
EARLIEST_YEAR: Final = 1900
LATEST_YEAR: Final = 2200
"""Outside is no time of a measurement; inside, adding an interval never leaves the calendar."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+~-]{0,127}")


class UnreadableError(ValueError):
    """A value of a known kind cannot be read; the message is the reason's short name, never the value."""


def number(value: object) -> float:
    """A finite number, also as text. Raises UnreadableError("value")."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnreadableError("value")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise UnreadableError("value") from None
    return finite(found)


def finite(value: float) -> float:
    """The value, if it is one: JSON has no infinity. Raises UnreadableError("value")."""
    if not math.isfinite(value):
        raise UnreadableError("value")
    return value


def moment(value: object) -> datetime:
    """A time of ISO 8601 that names its offset from UTC. Raises UnreadableError("date")."""
    if not isinstance(value, str):
        raise UnreadableError("date")
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise UnreadableError("date") from None
    return measured(time)


def measured(time: datetime) -> datetime:
    """A time, if it can be that of a measurement and names its offset. Raises UnreadableError("date")."""
    offset = time.utcoffset()
    if offset is None or not EARLIEST_YEAR <= time.year <= LATEST_YEAR:
        raise UnreadableError("date")
    # RFC 3339, in which events are written, has no seconds in an offset.
    return time.astimezone(UTC) if offset % timedelta(minutes=1) else time


def day(value: object) -> datetime:
    """The start of a calendar day in UTC, for `yyyy-MM-dd` without a zone. Raises UnreadableError("date")."""
    if not isinstance(value, str) or len(value) != len("2025-03-01"):
        raise UnreadableError("date")
    return moment(f"{value}T00:00:00+00:00")


def milliseconds(time: datetime) -> int:
    """Unix time."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def identifier(value: object) -> str:
    """A vendor's id as text, safe as one segment of a path. Raises UnreadableError("id")."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise UnreadableError("id")
    return value


def printable(value: object, longest: int = LONGEST_TEXT) -> str:
    """A free text in one line; empty where there is none."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:longest]


def named(name: str) -> str:
    """A document's own name, made fit for a log line and for comparing."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name.strip().lower())[:64]
