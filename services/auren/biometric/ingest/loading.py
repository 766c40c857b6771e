"""People as the tables have them: what memory does not hold, after a start, a rebalance or a long silence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

import msgspec

from auren.biometric.ingest.batch import Document, Row
from auren.biometric.ingest.person import (
    HOURLY,
    KEPT_DAYS,
    KEPT_HOURS_DAYS,
    KEPT_NIGHTS_DAYS,
    RECENT,
    TRACKED,
    Night,
    Person,
)
from auren.patterns import Known
from auren.people import PersonState
from auren.plausibility import FUTURE_SKEW
from auren.telemetry import logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

_STATES = "SELECT user_id, clock, state FROM people WHERE user_id = ANY($1)"
_DAYS = """
SELECT d.user_id, d.metric, d.day, d.source, d.count, d.total
FROM unnest($1::text[], $2::date[]) AS p(user_id, today)
JOIN daily_values d ON d.user_id = p.user_id AND d.metric = ANY($3) AND d.day > p.today - $4::integer
"""
_HOURS = """
SELECT h.user_id, h.metric, h.day, h.hour, h.source, h.count, h.total
FROM unnest($1::text[], $2::date[]) AS p(user_id, today)
JOIN hourly_values h ON h.user_id = p.user_id AND h.metric = ANY($3) AND h.day > p.today - $4::integer
"""
_NIGHTS = """
SELECT s.user_id, s.provider, s.document_id, s.day, s.start_time, s.end_time, s.utc_offset_minutes, s.total_minutes,
       s.version
FROM unnest($1::text[], $2::date[]) AS p(user_id, today)
JOIN sleep_sessions s ON s.user_id = p.user_id AND s.day > p.today - $3::integer
"""
_RECENT = f"""
SELECT {", ".join("r." + column for column in Row._fields)}
FROM readings r JOIN unnest($1::text[], $2::timestamptz[]) AS p(user_id, clock) USING (user_id)
WHERE r.metric = ANY($3) AND r.time > p.clock - $4::interval AND r.time BETWEEN $5 AND $6
"""
_PATTERNS = """
SELECT user_id, kind, detail, level, confidence, since, last_seen, evidence
FROM patterns WHERE user_id = ANY($1) AND ended_at IS NULL
"""

_state: Final = msgspec.json.Decoder(PersonState | None)
_log = logger(__name__)
_evidence: Final = msgspec.json.Decoder(dict[str, object])


async def load(connection: PoolConnectionProxy, revisions: Mapping[str, int]) -> dict[str, Person]:
    """The people, at the revisions at which their rows are locked. Raises asyncpg's errors."""
    if not revisions:
        return {}
    states = await connection.fetch(_STATES, list(revisions))
    people = {user: Person.stored(user, revisions[user], clock, _read(state)) for user, clock, state in states}
    users, todays = list(people), [person.today for person in people.values()]
    await _load_amounts(connection, people, users, todays)
    await _load_nights(connection, people, users, todays)
    await _load_recent(connection, people)
    for row in await connection.fetch(_PATTERNS, users):
        people[row["user_id"]].patterns[row["kind"], row["detail"]] = Known(
            kind=row["kind"],
            detail=row["detail"],
            level=row["level"],
            confidence=row["confidence"],
            since=row["since"],
            last_seen=row["last_seen"],
            evidence=_evidence.decode(row["evidence"]),
        )
    return people


def _read(state: str) -> PersonState:
    """The state, anew where another version of this program has written one that cannot be read: no event is poison."""
    try:
        return _state.decode(state) or PersonState()
    except msgspec.DecodeError as error:
        _log.warning("a person's state is begun anew", reason=type(error).__name__)
        return PersonState()


async def _load_amounts(
    connection: PoolConnectionProxy, people: Mapping[str, Person], users: list[str], todays: list[date]
) -> None:
    for user, metric, day, source, count, total in await connection.fetch(
        _DAYS, users, todays, list(TRACKED), KEPT_DAYS
    ):
        people[user].count_day(metric, day, source, count, total)
    for user, metric, day, hour, source, count, total in await connection.fetch(
        _HOURS, users, todays, list(HOURLY), KEPT_HOURS_DAYS
    ):
        people[user].count_hour(metric, (day, hour), source, count, total)


async def _load_nights(
    connection: PoolConnectionProxy, people: Mapping[str, Person], users: list[str], todays: list[date]
) -> None:
    for row in await connection.fetch(_NIGHTS, users, todays, KEPT_NIGHTS_DAYS):
        zone = timezone(timedelta(minutes=row["utc_offset_minutes"]))
        document = Document(row["user_id"], row["provider"], row["document_id"])
        people[row["user_id"]].nights[document] = Night(
            day=row["day"],
            start=row["start_time"].astimezone(zone),
            end=row["end_time"].astimezone(zone),
            minutes=row["total_minutes"],
            version=row["version"],
        )


async def _load_recent(connection: PoolConnectionProxy, people: Mapping[str, Person]) -> None:
    clocks: list[datetime] = [person.clock for person in people.values()]
    rows = await connection.fetch(
        _RECENT, list(people), clocks, list(HOURLY), RECENT, min(clocks) - RECENT, max(clocks) + FUTURE_SKEW
    )
    for row in (Row(*found) for found in rows):
        if row.trusted:
            people[row.user_id].remember(row.metric, row.source, row.time, row.value, row.document)
