"""Deliveries that may work later: kept as they were until they are due again.

A delivery is parked under a name made of its content, so that a record which comes again after a crash is parked
once. What is parked of a person who is erased meanwhile is dropped when it is due, as everything in the log is.

Whoever takes a delivery has it alone for a while, the lease, and holds neither a transaction nor a connection while a
vendor is asked. When the process dies, it is due again after the lease; when its work takes longer than that, somebody
else does it too, which changes nothing.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from auren.bridge.transactions import transaction
from auren.database import Database
from auren.events import Headers

LEASE: Final = timedelta(minutes=2)
"""A download takes 30 s at most, a document with a refresh of its token some 80 s."""

_REASON: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_headers_decoder: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]])

_PARK: Final = """
INSERT INTO parked_deliveries (id, provider, value, headers, reason, attempts, first_seen, due_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::text[], $6::integer[], $7::timestamptz[],
    $8::timestamptz[])
ON CONFLICT (id) DO NOTHING
"""
_DUE: Final = """
SELECT id, due_at, octet_length(value) AS size FROM parked_deliveries
WHERE due_at <= $1 AND provider <> ALL ($2::text[])
ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
"""
_LEASE: Final = """
UPDATE parked_deliveries SET due_at = $2 WHERE id = ANY ($1::uuid[])
RETURNING id, provider, value, headers, reason, attempts, first_seen
"""
_PUT_OFF: Final = """
UPDATE parked_deliveries p SET due_at = a.due_at, reason = a.reason, attempts = p.attempts + a.attempts
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::integer[]) AS a(id, due_at, reason, attempts)
WHERE p.id = a.id
"""
_DONE: Final = "DELETE FROM parked_deliveries WHERE id = ANY ($1::uuid[])"
_CENSUS: Final = "SELECT count(*), min(first_seen) FROM parked_deliveries"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record of the log that has to wait, how often it was tried, and why.

    `reason` is a short name such as `unknown-user`, never a text with data of people.
    """

    provider: str
    value: bytes
    headers: Headers
    reason: str
    attempts: int
    first_seen: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Parked(Waiting):
    """One in the table."""

    id: uuid.UUID


class PutOff(NamedTuple):
    """A delivery that goes back, when it is due, and why. One that was not tried at all keeps its attempts."""

    id: uuid.UUID
    due_at: datetime
    reason: str
    tried: bool = True


class Census(NamedTuple):
    """How many are parked, due or not, and since when the oldest of them is known."""

    parked: int
    oldest: datetime | None


class Parking:
    """The table `parked_deliveries`. Every method raises UnavailableError, and may be called again after it."""

    def __init__(self, database: Database) -> None:
        """The pool is the process'."""
        self._database = database

    async def park(self, waiting: Sequence[Waiting]) -> list[uuid.UUID]:
        """Keep all of them, or none; their ids, which their content makes. One that is parked already stays as it is.

        A reason that is no short name is a ValueError.
        """
        rows = [_row(one) for one in waiting]
        if rows:
            async with self._database.connection() as connection:
                await connection.execute(_PARK, *_columns(rows))
        return [row[0] for row in rows]

    async def take_due(
        self, now: datetime, *, limit: int, most_bytes: int, without: Sequence[str] = ()
    ) -> list[Parked]:
        """What is due at `now` and in nobody else's hands, the longest due first; this caller's until the lease ends.

        At most `limit` deliveries and `most_bytes` of bodies, but always one, however large; none of the providers in
        `without`. `due_at` is what it was before.
        """
        async with transaction(self._database) as connection:
            due = await connection.fetch(_DUE, now, list(without), limit)
            when = _within(due, most_bytes)
            rows = await connection.fetch(_LEASE, list(when), now + LEASE) if when else []
        taken = [_parked(row, when[row["id"]]) for row in rows]
        return sorted(taken, key=lambda parked: (parked.due_at, parked.id))

    async def done(self, ids: Sequence[uuid.UUID]) -> None:
        """Their effect is durable, or they are dead letters: remove them."""
        if ids:
            async with self._database.connection() as connection:
                await connection.execute(_DONE, list(ids))

    async def put_off(self, deliveries: Sequence[PutOff]) -> None:
        """Keep them for another time. A reason that is no short name is a ValueError."""
        rows = [(one.id, one.due_at, _short(one.reason), int(one.tried)) for one in deliveries]
        if rows:
            async with self._database.connection() as connection:
                await connection.execute(_PUT_OFF, *_columns(rows))

    async def census(self) -> Census:
        """For the gauges: it reads the whole table."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_CENSUS)
        return Census(*(row or (0, None)))


def _row(one: Waiting) -> tuple[uuid.UUID, str, bytes, bytes, str, int, datetime, datetime]:
    headers = msgspec.msgpack.encode(one.headers)
    identity, reason = _identity(one.provider, one.value, headers), _short(one.reason)
    return identity, one.provider, one.value, headers, reason, one.attempts, one.first_seen, one.due_at


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """For unnest, by id: of two processes that write the same rows neither waits for the other in a circle."""
    return [list(column) for column in zip(*sorted(rows, key=lambda row: row[0]), strict=True)]


def _within(due: Sequence[asyncpg.Record], most_bytes: int) -> dict[uuid.UUID, datetime]:
    """Those that fit, with when they were due; a smaller one may pass one that does not fit."""
    chosen: dict[uuid.UUID, datetime] = {}
    left = most_bytes
    for row in due:
        if row["size"] <= left or not chosen:
            chosen[row["id"]] = row["due_at"]
            left -= row["size"]
    return chosen


def _parked(row: asyncpg.Record, due_at: datetime) -> Parked:
    columns = dict(row)
    return Parked(**{**columns, "headers": _headers_decoder.decode(columns["headers"]), "due_at": due_at})


def _short(reason: str) -> str:
    if not _REASON.fullmatch(reason):
        raise ValueError("a reason is a short name in lower case with hyphens")
    return reason


def _identity(provider: str, value: bytes, headers: bytes) -> uuid.UUID:
    """Equal for an equal record. Two lengths stand before the parts, which keeps them apart."""
    name = provider.encode()
    digest = hashlib.sha256(b"%d %d " % (len(name), len(headers)))
    for part in (name, headers, value):
        digest.update(part)
    return uuid.UUID(bytes=digest.digest()[:16], version=5)
