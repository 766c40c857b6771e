"""Ranges of one metric out of the database: each reading, or what hours and calendar days make of them.

A page takes a connection for as long as its statement runs, so whoever reads a long range slowly holds none meanwhile.
Days of a time zone are put together from the hours of UTC; where a zone is not whole hours away from UTC, an hour would
belong to two days, and the readings themselves are added up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

import asyncpg

from auren.database import Database

PAGE_ROWS: Final = 5000
"""Rows that a stream of a whole range holds at a time."""

_WHERE = "user_id = $1 AND metric = $2 AND {time} >= $3 AND {time} < $4"
_RAW = f"""
SELECT time, source, value, end_time, flags FROM readings
WHERE {_WHERE.format(time="time")} AND (time, source) > ($5, $6)
ORDER BY time, source LIMIT $7
"""
_BUCKETS = """
SELECT bucket AS time, source, count, average, lowest, highest, total FROM {relation}
WHERE {where} AND (bucket, source) > ($5, $6)
ORDER BY bucket, source LIMIT $7
"""
_HOURS = _BUCKETS.format(relation="readings_hourly", where=_WHERE.format(time="bucket"))
_UTC_DAYS = _BUCKETS.format(relation="readings_daily", where=_WHERE.format(time="bucket"))
_ZONE_DAYS = """
SELECT * FROM (
    SELECT ($8::timestamptz[])[width_bucket({time}, $8::timestamptz[])] AS time, source, {sums}
    FROM {relation} WHERE {where} GROUP BY 1, source
) days
WHERE (time, source) > ($5, $6) ORDER BY time, source LIMIT $7
"""
_DAYS_OF_HOURS = _ZONE_DAYS.format(
    time="bucket",
    sums="sum(count)::bigint AS count, sum(total) / sum(count) AS average, min(lowest) AS lowest,"
    " max(highest) AS highest, sum(total) AS total",
    relation="readings_hourly",
    where=_WHERE.format(time="bucket"),
)
_DAYS_OF_READINGS = _ZONE_DAYS.format(
    time="time",
    sums="count(*) AS count, avg(value) AS average, min(value) AS lowest, max(value) AS highest, sum(value) AS total",
    relation="readings",
    # The same readings as the aggregates are made of.
    where=_WHERE.format(time="time") + " AND (flags IS NULL OR NOT flags && ARRAY['implausible', 'future'])",
)


@dataclass(frozen=True, slots=True)
class Range:
    """Which readings of whom: those from `start` up to, not including, `end`."""

    user_id: str
    metric: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the next one begins behind it."""

    time: datetime
    source: str


Fetch = Callable[[Position, int], Awaitable[list[asyncpg.Record]]]
"""Rows behind a position, at most so many, by time and source. Raises UnavailableError."""


class Ranges:
    """Reads the table `readings` and its aggregates. Every method raises UnavailableError."""

    def __init__(self, database: Database) -> None:
        """The pool is the service's."""
        self._database = database

    async def raw(self, asked: Range, after: Position, limit: int) -> list[asyncpg.Record]:
        """Readings: time, source, value, end_time, flags."""
        return await self._fetch(_RAW, asked, after, limit)

    async def hours(self, asked: Range, after: Position, limit: int) -> list[asyncpg.Record]:
        """Hours that begin in the range: time, source, count, average, lowest, highest, total; trusted readings."""
        return await self._fetch(_HOURS, asked, after, limit)

    async def days(
        self, asked: Range, midnights: Sequence[datetime], after: Position, limit: int
    ) -> list[asyncpg.Record]:
        """Days between `midnights`, the first the range's start and the last its end; columns as `hours`."""
        if len(midnights) < 2:
            return []
        if all(midnight.utcoffset() == timedelta(0) for midnight in midnights):
            return await self._fetch(_UTC_DAYS, asked, after, limit)
        whole_hours = all(midnight.timestamp() % 3600 == 0 for midnight in midnights)
        statement = _DAYS_OF_HOURS if whole_hours else _DAYS_OF_READINGS
        return await self._fetch(statement, asked, after, limit, list(midnights[:-1]))

    async def _fetch(
        self, statement: str, asked: Range, after: Position, limit: int, *more: object
    ) -> list[asyncpg.Record]:
        # A later page need not look into the days before its position.
        start = max(asked.start, after.time)
        async with self._database.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(
                statement, asked.user_id, asked.metric, start, asked.end, after.time, after.source, limit, *more
            )
        return rows


async def pages(fetch: Fetch, start: datetime) -> AsyncIterator[list[asyncpg.Record]]:
    """A whole range from its start, in pages. None of them is empty."""
    position = Position(start, "")
    while True:
        rows = await fetch(position, PAGE_ROWS)
        if rows:
            yield rows
        if len(rows) < PAGE_ROWS:
            return
        position = Position(rows[-1]["time"], rows[-1]["source"])


def midnights(start: datetime, end: datetime, zone: tzinfo) -> list[datetime]:
    """The first moments of the zone's days that begin from `start` up to, not including, `end`, and the next one.

    Days have 23 or 25 hours where clocks change, and a day that a zone left out is left out.
    """
    day = start.astimezone(zone).date()
    moments: list[datetime] = []
    while True:
        midnight = first_moment(day, zone)
        if midnight >= start and (not moments or midnight > moments[-1]):
            moments.append(midnight)
            if midnight >= end:
                return moments
        day += timedelta(days=1)


def first_moment(day: date, zone: tzinfo) -> datetime:
    """When a day begins. Through UTC, since a midnight that clocks leave out is the moment after it."""
    return datetime.combine(day, time(), zone).astimezone(UTC).astimezone(zone)
