"""A range at a resolution: how long it may be, where its rows come from, what a row looks like outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import pairwise
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

import asyncpg

from auren.biometric.api.asking import invalid
from auren.biometric.ranges import Fetch, Range, Ranges, midnights
from auren.biometric.tabular import Column

Resolution = Literal["raw", "hour", "day"]


@dataclass(frozen=True, slots=True)
class Width:
    """How long a range is without `from`, and at most."""

    default: timedelta
    greatest: timedelta


WIDTHS: Final[Mapping[Resolution, Width]] = {
    "raw": Width(timedelta(days=1), timedelta(days=366)),
    "hour": Width(timedelta(days=7), timedelta(days=3 * 366)),
    "day": Width(timedelta(days=30), timedelta(days=10 * 366)),
}

_HOUR: Final = timedelta(hours=1)
_RAW_COLUMNS: Final = (
    Column("time", "time"),
    Column("value", "number"),
    Column("source", "text"),
    Column("end_time", "time"),
    Column("flags", "texts"),
)
_BUCKET_COLUMNS: Final = (
    Column("start", "time"),
    Column("end", "time"),
    Column("source", "text"),
    Column("count", "count"),
    Column("average", "number"),
    Column("lowest", "number"),
    Column("highest", "number"),
    Column("total", "number"),
)


@dataclass(frozen=True, slots=True)
class View:
    """What a route answers from. `shape` makes the row of a record, with a value for each column."""

    asked: Range
    resolution: Resolution
    zone: ZoneInfo
    fetch: Fetch
    shape: Callable[[asyncpg.Record], dict[str, Any]]
    columns: tuple[Column, ...]


def bounded(user: str, metric: str, start: datetime | None, end: datetime | None, resolution: Resolution) -> Range:
    """The range that is meant. Raises ProblemError (422) for one that is empty or longer than its resolution allows."""
    width = WIDTHS[resolution]
    end = end or datetime.now(UTC)
    start = start or end - width.default
    if start >= end:
        raise invalid("from must lie before to")
    if end - start > width.greatest:
        raise invalid(
            f"from and to lie more than {width.greatest.days} days apart, too far for {resolution}; ask in parts"
        )
    return Range(user, metric, start, end)


def time_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ProblemError (422) for any other."""
    if name not in _zone_names():
        raise invalid("tz is no name of the IANA time zone database, such as Europe/Berlin")
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def view(ranges: Ranges, asked: Range, resolution: Resolution, zone: ZoneInfo) -> View:
    """The view of a range."""
    match resolution:
        case "raw":
            return View(asked, resolution, zone, partial(ranges.raw, asked), _reading, _RAW_COLUMNS)
        case "hour":
            shape = partial(_bucket, zone, None)
            return View(asked, resolution, zone, partial(ranges.hours, asked), shape, _BUCKET_COLUMNS)
        case "day":
            return _days(ranges, asked, zone)


def _days(ranges: Ranges, asked: Range, zone: ZoneInfo) -> View:
    """The days that begin in the range, each of them whole."""
    moments = midnights(asked.start, asked.end, zone)
    whole = Range(asked.user_id, asked.metric, moments[0], moments[-1])
    shape = partial(_bucket, zone, dict(pairwise(moments)))
    return View(whole, "day", zone, partial(ranges.days, whole, moments), shape, _BUCKET_COLUMNS)


def _reading(record: asyncpg.Record) -> dict[str, Any]:
    return {column.name: record[column.name] for column in _RAW_COLUMNS} | {"flags": record["flags"] or []}


def _bucket(zone: ZoneInfo, ends: Mapping[datetime, datetime] | None, record: asyncpg.Record) -> dict[str, Any]:
    start = record["time"].astimezone(zone)
    end = ends[start] if ends is not None else start + _HOUR
    return {"start": start, "end": end} | {column.name: record[column.name] for column in _BUCKET_COLUMNS[2:]}
