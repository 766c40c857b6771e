"""What was learnt about a person, read out of the database: days, sleep, patterns, the mode and how it came about."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import asyncpg

from auren.database import Database

FIRST: Final = uuid.UUID(int=0)
"""Lies before the id of every switch."""

_SWITCH = "id, at, mode, previous, rule, reason, confidence, evidence, off"
_MODE = """
SELECT p.mode, p.mode_since, p.clock, s.* FROM people p LEFT JOIN LATERAL (
    SELECT rule, reason, confidence, evidence, off, previous FROM mode_switches
    WHERE user_id = p.user_id ORDER BY at DESC, id DESC LIMIT 1
) s ON true
WHERE p.user_id = $1
"""
_SWITCHES = f"""
SELECT {_SWITCH} FROM mode_switches
WHERE user_id = $1 AND at >= $2 AND at < $3 AND (at, id) > ($4, $5) ORDER BY at, id LIMIT $6
"""
_BEFORE = f"SELECT {_SWITCH} FROM mode_switches WHERE user_id = $1 AND at < $2 ORDER BY at DESC, id DESC LIMIT 1"
_PATTERNS = """
SELECT kind, detail, level, confidence, since, last_seen, ended_at, evidence FROM patterns
WHERE user_id = $1 AND (ended_at IS NULL OR $2) ORDER BY ended_at DESC NULLS FIRST, kind, detail
"""
_DAYS = """
SELECT metric, day, source, count, total FROM daily_values
WHERE user_id = $1 AND metric = ANY($2) AND day >= $3 AND day < $4 ORDER BY metric, day, source
"""


@dataclass(frozen=True, slots=True)
class SwitchPosition:
    """Where a page of switches ended: the next one begins behind it."""

    at: datetime
    id: uuid.UUID


class Learnt:
    """Reads what the ingest has learnt. Every method raises UnavailableError."""

    def __init__(self, database: Database) -> None:
        """The pool is the service's."""
        self._database = database

    async def mode(self, user_id: str) -> asyncpg.Record | None:
        """The mode now, since when, and the newest switch with why; None of somebody of whom nothing came yet."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(_MODE, user_id)

    async def switches(
        self, user_id: str, start: datetime, end: datetime, after: SwitchPosition, limit: int
    ) -> list[asyncpg.Record]:
        """At most `limit` switches of the mode from `start` up to `end`, oldest first, behind `after`."""
        async with self._database.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(
                _SWITCHES, user_id, start, end, after.at, after.id, limit
            )
        return rows

    async def switch_before(self, user_id: str, moment: datetime) -> asyncpg.Record | None:
        """The switch to the mode that held at `moment`."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(_BEFORE, user_id, moment)

    async def patterns(self, user_id: str, *, ended: bool) -> list[asyncpg.Record]:
        """The patterns that are there now, and with `ended` also those that were."""
        async with self._database.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(_PATTERNS, user_id, ended)
        return rows

    async def daily_values(self, user_id: str, metrics: Sequence[str], start: date, end: date) -> list[asyncpg.Record]:
        """Trusted readings of the person's days from `start` up to, not including, `end`: metric, day, source, count,
        total in millionths of the metric's unit.
        """
        async with self._database.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(_DAYS, user_id, list(metrics), start, end)
        return rows
