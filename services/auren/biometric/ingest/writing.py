"""What a batch leaves in the tables besides rows of readings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from auren.biometric.ingest.batch import Document, last_moment, offset_minutes
from auren.biometric.ingest.sequence import Outcome
from auren.events import Event
from auren.modes import switches
from auren.outbox import pack
from auren.topics import MODE_SWITCHES

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

_BURY = """
INSERT INTO deletion_tombstones AS known (user_id, provider, document_id, version)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (user_id, provider, document_id) DO UPDATE SET version = excluded.version, deleted_at = now()
WHERE excluded.version > known.version
"""
_DAYS = """
INSERT INTO daily_values AS known SELECT * FROM
unnest($1::text[], $2::text[], $3::date[], $4::text[], $5::integer[], $6::bigint[])
ON CONFLICT (user_id, metric, day, source) DO UPDATE
SET count = known.count + excluded.count, total = known.total + excluded.total
"""
_HOURS = """
INSERT INTO hourly_values AS known SELECT * FROM
unnest($1::text[], $2::text[], $3::date[], $4::smallint[], $5::text[], $6::integer[], $7::bigint[])
ON CONFLICT (user_id, metric, day, hour, source) DO UPDATE
SET count = known.count + excluded.count, total = known.total + excluded.total
"""
_NO_EMPTY_DAYS = "DELETE FROM daily_values WHERE user_id = ANY($1) AND count = 0"
_NO_EMPTY_HOURS = "DELETE FROM hourly_values WHERE user_id = ANY($1) AND count = 0"
_PEOPLE = """
UPDATE people SET revision = n.revision, clock = n.clock, mode = n.mode, mode_since = n.mode_since, state = n.state
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::text[], $5::timestamptz[], $6::jsonb[])
     AS n(user_id, revision, clock, mode, mode_since, state)
WHERE people.user_id = n.user_id
"""
_NIGHT_COLUMNS: Final = {
    "user_id": "text", "provider": "text", "document_id": "text", "version": "bigint", "source": "text", "day": "date",
    "start_time": "timestamptz", "end_time": "timestamptz", "utc_offset_minutes": "smallint",
    "in_bed_start": "timestamptz", "in_bed_end": "timestamptz", "total_minutes": "float8", "light_minutes": "float8",
    "deep_minutes": "float8", "rem_minutes": "float8", "awake_minutes": "float8", "in_bed_minutes": "float8",
    "stages": "jsonb", "event_id": "uuid", "received_at": "timestamptz",
}  # fmt: skip
_WORKOUT_COLUMNS: Final = {
    "user_id": "text", "provider": "text", "document_id": "text", "version": "bigint", "source": "text",
    "activity": "text", "start_time": "timestamptz", "end_time": "timestamptz", "energy_kcal": "float8",
    "distance_m": "float8", "average_heart_rate": "float8", "max_heart_rate": "float8", "strain": "float8",
    "event_id": "uuid", "received_at": "timestamptz",
}  # fmt: skip
_DOCUMENT_KEY: Final = ("user_id", "provider", "document_id")


def _upsert_documents(table: str, columns: Mapping[str, str]) -> str:
    arrays = ", ".join(f"${index}::{kind}[]" for index, kind in enumerate(columns.values(), 1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in _DOCUMENT_KEY)
    return (
        f"INSERT INTO {table} AS known ({', '.join(columns)}) SELECT * FROM unnest({arrays}) "
        f"ON CONFLICT (user_id, provider, document_id) DO UPDATE SET {changes} WHERE excluded.version >= known.version"
    )


_NIGHTS = _upsert_documents("sleep_sessions", _NIGHT_COLUMNS)
_WORKOUTS = _upsert_documents("workouts", _WORKOUT_COLUMNS)
_NO_DOCUMENTS = """
DELETE FROM {table} t
USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS d(user_id, provider, document_id, version)
WHERE t.user_id = d.user_id AND t.provider = d.provider AND t.document_id = d.document_id AND t.version <= d.version
"""
_SWITCHES = """
INSERT INTO mode_switches (id, user_id, at, mode, previous, rule, reason, confidence, evidence, off, event_id)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::float8[], $9::jsonb[], $10::jsonb[], $11::uuid[])
ON CONFLICT (id) DO NOTHING
"""
_PATTERNS = """
INSERT INTO patterns (user_id, kind, detail, level, confidence, since, last_seen, ended_at, evidence)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::timestamptz[],
                     $7::timestamptz[], $8::timestamptz[], $9::jsonb[])
ON CONFLICT (user_id, kind, detail) DO UPDATE
SET level = excluded.level, confidence = excluded.confidence, since = excluded.since, last_seen = excluded.last_seen,
    ended_at = excluded.ended_at, evidence = excluded.evidence
"""
_OUTBOX = """
INSERT INTO outbox (topic, user_id, value, headers)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[])
"""


async def write(connection: PoolConnectionProxy, outcome: Outcome) -> None:
    """Days, hours, sleep, workouts, tombstones, patterns, people, decisions. Raises asyncpg's errors."""
    await _amounts(connection, outcome)
    await _documents(connection, outcome)
    await _decisions(connection, outcome)
    people = list(outcome.people.values())
    for person in people:
        person.revision += 1
    await connection.execute(
        _PEOPLE,
        [person.user_id for person in people],
        [person.revision for person in people],
        [person.clock for person in people],
        [person.mode.mode.value for person in people],
        [person.mode.since or person.clock for person in people],
        [_json(person.state()) for person in people],
    )


async def _amounts(connection: PoolConnectionProxy, outcome: Outcome) -> None:
    for statement, clean, amounts in (
        (_DAYS, _NO_EMPTY_DAYS, outcome.days),
        (_HOURS, _NO_EMPTY_HOURS, outcome.hours),
    ):
        changed = [(*key, *amount) for key, amount in sorted(amounts.items()) if amount != [0, 0]]
        if changed:
            await connection.execute(statement, *zip(*changed, strict=True))
        if any(amount[0] < 0 for amount in amounts.values()):
            await connection.execute(clean, list({key[0] for key in amounts}))


async def _documents(connection: PoolConnectionProxy, outcome: Outcome) -> None:
    if outcome.tombstones:
        await connection.execute(_BURY, *_deleted(outcome, outcome.tombstones))
    for table, upsert, row, documents in (
        ("sleep_sessions", _NIGHTS, _night, outcome.nights),
        ("workouts", _WORKOUTS, _workout, outcome.workouts),
    ):
        gone = [document for document in outcome.tombstones if document in documents]
        if gone:
            await connection.execute(_NO_DOCUMENTS.format(table=table), *_deleted(outcome, gone))
        stored = [row(event) for _, event in sorted(documents.items()) if event is not None]
        if stored:
            await connection.execute(upsert, *zip(*stored, strict=True))


def _deleted(outcome: Outcome, documents: Iterable[Document]) -> Sequence[Sequence[Any]]:
    return list(zip(*((*document, outcome.tombstones[document]) for document in sorted(documents)), strict=True))


def _night(event: Event) -> tuple[Any, ...]:
    sleep = event.sleep
    assert sleep is not None
    last = last_moment(sleep.start, sleep.end)
    return (
        event.user_id, event.provider, event.document_id, event.version, event.source, last.date(),
        sleep.start, sleep.end, offset_minutes(last), sleep.in_bed_start, sleep.in_bed_end,
        sleep.total_minutes, sleep.light_minutes, sleep.deep_minutes, sleep.rem_minutes, sleep.awake_minutes,
        sleep.in_bed_minutes, _json(sleep.stages), event.event_id, event.received_at,
    )  # fmt: skip


def _workout(event: Event) -> tuple[Any, ...]:
    workout = event.workout
    assert workout is not None
    return (
        event.user_id, event.provider, event.document_id, event.version, event.source, workout.activity,
        workout.start, workout.end, workout.energy_kcal, workout.distance_m, workout.average_heart_rate,
        workout.max_heart_rate, workout.strain, event.event_id, event.received_at,
    )  # fmt: skip


async def _decisions(connection: PoolConnectionProxy, outcome: Outcome) -> None:
    if outcome.patterns:
        found = [
            (
                user, pattern.kind, pattern.detail, pattern.level, pattern.confidence, pattern.since,
                pattern.last_seen, pattern.ended_at, _json(pattern.evidence),
            )
            for (user, _, _), pattern in sorted(outcome.patterns.items())
        ]  # fmt: skip
        await connection.execute(_PATTERNS, *zip(*found, strict=True))
    if outcome.switches:
        rows = [
            (
                one.switch_id, one.user_id, one.at, one.mode.value, one.previous.value, one.rule, one.reason,
                one.confidence, _json(one.evidence), _json(one.off), one.event_id,
            )
            for one in outcome.switches
        ]  # fmt: skip
        await connection.execute(_SWITCHES, *zip(*rows, strict=True))
        letters = [
            (MODE_SWITCHES.name, one.user_id, switches.encode(one), pack(switches.headers(one)))
            for one in outcome.switches
        ]
        await connection.execute(_OUTBOX, *zip(*letters, strict=True))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
