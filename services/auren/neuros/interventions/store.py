"""The tables of interventions, read and written.

Whoever writes something new of a person takes the person's lock and then asks who was erased. An erasure commits
`erased_users`, takes the same lock and only then deletes: one of the two sees what the other did.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import asyncpg
import msgspec

from auren.database import Database
from auren.link import UnavailableError
from auren.modes import Evidence
from auren.neuros.interventions import outcomes, preferences
from auren.neuros.interventions.outcomes import BEFORE, OPEN, Outcome, Value
from auren.neuros.interventions.preferences import Preferences
from auren.neuros.interventions.records import Intervention, encode, headers
from auren.outbox import pack
from auren.plausibility import UNTRUSTED
from auren.topics import INTERVENTIONS

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Acknowledgement = Literal["done", "dismissed"]

PERMANENT: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What a value does that no column can hold."""

_SEED: Final = 8
"""Keeps the lock of a person's interventions apart from other locks of the person."""

_LOCK = f"SELECT pg_advisory_xact_lock(hashtextextended($1, {_SEED}))"
_ERASED = "SELECT EXISTS (SELECT FROM erased_users WHERE user_id = $1)"
_KNOWN = "SELECT EXISTS (SELECT FROM interventions WHERE id = $1)"
_MODE = "SELECT mode FROM people WHERE user_id = $1"
_LAST = "SELECT max(at) FROM interventions WHERE user_id = $1"
_SINCE = "SELECT count(*) FROM interventions WHERE user_id = $1 AND at >= $2"
_BEFORE = """
SELECT DISTINCT ON (metric) metric, value, time FROM readings
WHERE user_id = $1 AND metric = ANY($2) AND time > $3 AND time <= $4 AND (flags IS NULL OR NOT flags && $5)
ORDER BY metric, time DESC
"""
_ADD = """
INSERT INTO interventions (id, user_id, at, expires_at, mode, level, protocol, title, reason, evidence, outcome,
    switched_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
_SEND = "INSERT INTO intervention_outbox (topic, user_id, value, headers) VALUES ($1, $2, $3, $4)"
_WITHDRAW = """
UPDATE interventions SET withdrawn_at = $3
WHERE user_id = $1 AND switched_at < $2 AND expires_at > $3 AND withdrawn_at IS NULL AND acknowledged_at IS NULL
"""
_OPEN = """
SELECT id, user_id, outcome, title, protocol, acknowledged_as FROM interventions
WHERE user_id = ANY($1) AND at > $2 ORDER BY id FOR UPDATE
"""
_MEASURED = "UPDATE interventions SET outcome = $2 WHERE id = $1"
_COLUMNS = "id, user_id, at, expires_at, mode, level, protocol, title, reason, evidence"
_WAITING = f"""
SELECT {_COLUMNS} FROM interventions
WHERE user_id = $1 AND expires_at > $2 AND acknowledged_at IS NULL AND withdrawn_at IS NULL ORDER BY at, id
"""
_DELIVERED = "UPDATE interventions SET delivered_at = now() WHERE id = $1 AND delivered_at IS NULL"
_ROW = f"{_COLUMNS}, outcome, delivered_at, withdrawn_at, acknowledged_at, acknowledged_as"
_NEWEST = f"""
SELECT {_ROW} FROM interventions
WHERE user_id = $1 AND ($2::uuid IS NULL
    OR (at, id) < (SELECT b.at, b.id FROM interventions b WHERE b.id = $2 AND b.user_id = $1))
ORDER BY at DESC, id DESC LIMIT $3
"""
_ACKNOWLEDGE = f"""
UPDATE interventions SET acknowledged_at = coalesce(acknowledged_at, now()),
    acknowledged_as = coalesce($3, acknowledged_as)
WHERE id = $1 AND user_id = $2 RETURNING {_ROW}
"""
_PREFERENCES = "SELECT interventions FROM preferences WHERE user_id = $1"
_PREFER = """
INSERT INTO preferences (user_id, interventions) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE SET interventions = excluded.interventions, updated_at = now()
"""
_OLD = "DELETE FROM interventions WHERE at < now() - make_interval(days => $1)"
_TABLES: Final = ("preferences", "intervention_outbox", "interventions")

_encoder: Final = msgspec.json.Encoder()
_evidence: Final = msgspec.json.Decoder(tuple[Evidence, ...])


class ErasedError(Exception):
    """The person was erased: nothing of them is kept any more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An intervention as the table has it."""

    intervention: Intervention
    outcome: Outcome
    delivered_at: datetime | None
    withdrawn_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_as: Acknowledgement | None


class Store:
    """Every method raises UnavailableError while the database is away."""

    def __init__(self, database: Database) -> None:
        """The pool is the service's."""
        self._database = database

    @asynccontextmanager
    async def person(self, user_id: str) -> AsyncIterator[Person]:
        """A transaction in which nothing else of this room writes about the person. Raises ErasedError.

        What can never be written raises one of PERMANENT.
        """
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_LOCK, user_id)
            if await connection.fetchval(_ERASED, user_id):
                raise ErasedError
            yield Person(connection, user_id)

    async def withdraw(self, user_id: str, at: datetime, now: datetime) -> None:
        """What a switch before `at` led to and nobody has answered is not told any more: its cause is over.

        Both times are the person's clock, so a switch that is read a second time withdraws nothing that came later.
        """
        async with self._connection() as connection:
            await connection.execute(_WITHDRAW, user_id, at, now)

    @asynccontextmanager
    async def open_outcomes(self, users: Collection[str], now: datetime) -> AsyncIterator[Outcomes]:
        """A transaction with the outcomes of people that events may still change."""
        async with self._connection() as connection, connection.transaction():
            rows = await connection.fetch(_OPEN, list(users), now - OPEN)
            yield Outcomes(connection, [_open(row) for row in rows])

    async def waiting(self, user_id: str, now: datetime) -> list[Intervention]:
        """What was offered to a person and is neither answered nor over, oldest first."""
        async with self._connection() as connection:
            return [_intervention(row) for row in await connection.fetch(_WAITING, user_id, now)]

    async def delivered(self, identifier: uuid.UUID) -> None:
        """Note that a socket has told it."""
        async with self._connection() as connection:
            await connection.execute(_DELIVERED, identifier)

    async def newest(self, user_id: str, before: uuid.UUID | None, limit: int) -> list[Kept]:
        """At most `limit` of a person's interventions, newest first, behind the one with the id `before`."""
        async with self._connection() as connection:
            return [_kept(row) for row in await connection.fetch(_NEWEST, user_id, before, limit)]

    async def acknowledge(self, user_id: str, identifier: uuid.UUID, answer: Acknowledgement | None) -> Kept | None:
        """Note a person's answer; None where they have no such intervention. May be repeated: the last one stands."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_ACKNOWLEDGE, identifier, user_id, answer)
        return _kept(row) if row else None

    async def preferences(self, user_id: str) -> Preferences | None:
        """What a person wants; None of somebody who has said nothing."""
        async with self._connection() as connection:
            return await _preferences(connection, user_id)

    async def erase(self, user_id: str) -> dict[str, int]:
        """Delete all of a person who stands in `erased_users`; rows by table. May be repeated."""
        removed = {}
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_LOCK, user_id)
            for table in _TABLES:
                status = await connection.execute(f"DELETE FROM {table} WHERE user_id = $1", user_id)
                removed[table] = int(status.rpartition(" ")[2])
        return removed

    async def prune(self, days: int) -> None:
        """Forget what was offered longer ago, and what is left of erased people. Raises UnavailableError."""
        async with self._connection() as connection:
            await connection.execute(_OLD, days)
            for table in _TABLES:
                await connection.execute(f"DELETE FROM {table} WHERE user_id IN (SELECT user_id FROM erased_users)")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PoolConnectionProxy]:
        try:
            async with self._database.connection() as connection:
                yield connection
        except PERMANENT:
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("database", type(error).__name__) from error


class Person:
    """One person within a transaction of `Store.person`."""

    def __init__(self, connection: PoolConnectionProxy, user_id: str) -> None:
        """Made by the store."""
        self._connection = connection
        self._user_id = user_id

    async def has(self, identifier: uuid.UUID) -> bool:
        """Whether an intervention is there already."""
        return bool(await self._connection.fetchval(_KNOWN, identifier))

    async def preferences(self) -> Preferences | None:
        """What they want; None where they have said nothing."""
        return await _preferences(self._connection, self._user_id)

    async def prefer(self, wanted: Preferences) -> None:
        """Keep what they want."""
        await self._connection.execute(_PREFER, self._user_id, preferences.pack(wanted))

    async def mode(self) -> str | None:
        """The mode that they are in now; None of somebody of whom nothing came."""
        found: str | None = await self._connection.fetchval(_MODE, self._user_id)
        return found

    async def last_at(self) -> datetime | None:
        """When their newest intervention was offered."""
        found: datetime | None = await self._connection.fetchval(_LAST, self._user_id)
        return found

    async def since(self, moment: datetime) -> int:
        """How many interventions there were from a moment on."""
        return int(await self._connection.fetchval(_SINCE, self._user_id, moment))

    async def before(self, metrics: Sequence[str], moment: datetime) -> dict[str, Value]:
        """The newest trusted readings up to a moment, by metric."""
        arguments = (self._user_id, list(metrics), moment - BEFORE, moment, sorted(UNTRUSTED))
        rows = await self._connection.fetch(_BEFORE, *arguments)
        return {row["metric"]: (row["value"], row["time"]) for row in rows}

    async def add(self, intervention: Intervention, switched_at: datetime, outcome: Outcome) -> None:
        """Keep the intervention that a switch of that time led to, and give it to the outbox."""
        fields = msgspec.structs.asdict(intervention)
        columns = [fields[name] for name in ("id", "user_id", "at", "expires_at", "mode", "level", "protocol", "title")]
        evidence = _encoder.encode(intervention.evidence).decode()
        columns += [intervention.reason, evidence, outcomes.pack(outcome), switched_at]
        await self._connection.execute(_ADD, *columns)
        record = (encode(intervention), pack(headers(intervention)))
        await self._connection.execute(_SEND, INTERVENTIONS.name, self._user_id, *record)


class OpenOutcome(NamedTuple):
    """What may still come of an intervention; `title` and `protocol` are the exercise's, `done`: the person did it."""

    id: uuid.UUID
    user_id: str
    outcome: Outcome
    title: str
    protocol: str
    done: bool


def _open(row: asyncpg.Record) -> OpenOutcome:
    outcome, done = outcomes.unpack(row["outcome"]), row["acknowledged_as"] == "done"
    return OpenOutcome(row["id"], row["user_id"], outcome, row["title"], row["protocol"], done)


class Outcomes:
    """Open outcomes within a transaction of `Store.open_outcomes`."""

    def __init__(self, connection: PoolConnectionProxy, rows: Sequence[OpenOutcome]) -> None:
        """Made by the store."""
        self._connection = connection
        self.rows = rows

    async def change(self, identifier: uuid.UUID, outcome: Outcome) -> None:
        """Keep what has become of one."""
        await self._connection.execute(_MEASURED, identifier, outcomes.pack(outcome))


async def _preferences(connection: PoolConnectionProxy, user_id: str) -> Preferences | None:
    column = await connection.fetchval(_PREFERENCES, user_id)
    return None if column is None else preferences.unpack(column)


def _intervention(row: asyncpg.Record) -> Intervention:
    fields: dict[str, Any] = {name: row[name] for name in Intervention.__struct_fields__ if name in row.keys()}  # noqa: SIM118 - a record iterates its values
    return msgspec.convert(fields | {"evidence": _evidence.decode(row["evidence"])}, Intervention)


def _kept(row: asyncpg.Record) -> Kept:
    return Kept(
        _intervention(row), outcomes.unpack(row["outcome"]), row["delivered_at"], row["withdrawn_at"],
        row["acknowledged_at"], row["acknowledged_as"],
    )  # fmt: skip
