"""Deliveries that may work later: kept as they were until they are due again.

A delivery is parked under a name made of its content, so that a record which comes again after a crash is parked
once. What is parked of a person who is erased meanwhile is dropped when it is due, as everything in the log is.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec

from auren.bridge.transactions import Held, hold
from auren.database import Database
from auren.events import Headers

TAKE_DELIVERIES: Final = 50
TAKE_BYTES: Final = 32 * 1024 * 1024
"""How much is taken at once. A body may have 16 MiB, and decoding needs a multiple of that."""

_REASON: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_FIRST: Final = (datetime.min.replace(tzinfo=UTC), uuid.UUID(int=0))
_headers_decoder: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]])

_PARK: Final = """
INSERT INTO parked_deliveries (id, provider, value, headers, reason, attempts, first_seen, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING
"""
# One at a time: a statement that locked many and then counted bytes would keep rows locked that it does not take.
_TAKE: Final = """
SELECT id, provider, value, headers, reason, attempts, first_seen, due_at FROM parked_deliveries
WHERE due_at <= $1 AND (due_at, id) > ($2, $3) AND ($4::bigint IS NULL OR octet_length(value) <= $4)
ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_PUT_OFF: Final = "UPDATE parked_deliveries SET due_at = $2, reason = $3, attempts = attempts + 1 WHERE id = $1"
_DONE: Final = "DELETE FROM parked_deliveries WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked delivery: a record of the log, how often it was tried, and why it waits."""

    id: uuid.UUID
    provider: str
    value: bytes
    headers: Headers
    reason: str
    attempts: int
    first_seen: datetime
    due_at: datetime


class Taken:
    """Deliveries that are this process' alone until the block ends. Both methods raise UnavailableError."""

    def __init__(self, deliveries: Sequence[Parked], held: Held) -> None:
        """Made by `Parking.take_due`."""
        self.deliveries = deliveries
        self._held = held
        self._open = {delivery.id for delivery in deliveries}

    async def done(self, delivery_id: uuid.UUID) -> None:
        """Its effect is durable, or it is a dead letter: remove it. Raises LookupError for one that is not taken."""
        self._require(delivery_id)
        await self._held.execute(_DONE, delivery_id)
        self._open.remove(delivery_id)

    async def put_off(self, delivery_id: uuid.UUID, due_at: datetime, reason: str) -> None:
        """It failed once more: keep it until `due_at`. Raises LookupError for one that is not taken, ValueError."""
        self._require(delivery_id)
        _require_reason(reason)
        await self._held.execute(_PUT_OFF, delivery_id, due_at, reason)

    def _require(self, delivery_id: uuid.UUID) -> None:
        if delivery_id not in self._open:
            raise LookupError("this delivery is not taken")


class Parking:
    """The table `parked_deliveries`."""

    def __init__(self, database: Database) -> None:
        """The pool is the process'."""
        self._database = database

    async def park(
        self,
        value: bytes,
        headers: Headers,
        *,
        provider: str,
        reason: str,
        first_seen: datetime,
        attempts: int,
        due_at: datetime,
    ) -> uuid.UUID:
        """Keep a record until `due_at`; its id. One that is parked already stays as it is.

        `reason` is a short name such as `unknown-user`, never a text with data of people; any other is a ValueError.
        Raises UnavailableError.
        """
        _require_reason(reason)
        encoded = msgspec.msgpack.encode(headers)
        delivery_id = _identity(provider, value, encoded)
        async with self._database.connection() as connection:
            await connection.execute(_PARK, delivery_id, provider, value, encoded, reason, attempts, first_seen, due_at)
        return delivery_id

    @asynccontextmanager
    async def take_due(
        self, now: datetime, *, limit: int = TAKE_DELIVERIES, most_bytes: int = TAKE_BYTES
    ) -> AsyncIterator[Taken]:
        """What is due at `now` and in nobody else's hands, the longest due first, locked for the block.

        At most `limit` deliveries and `most_bytes` of bodies, but always one, however large. What is neither done nor
        put off in the block stays due. What was stays so when the block fails later; when the process dies in it,
        everything is parked as before. Raises UnavailableError.
        """
        async with hold(self._database) as held:
            yield Taken(await _take(held, now, limit, most_bytes), held)

    async def count(self) -> int:
        """How many are parked, due or not. Raises UnavailableError."""
        async with self._database.connection() as connection:
            found: int = await connection.fetchval("SELECT count(*) FROM parked_deliveries")
        return found


async def _take(held: Held, now: datetime, limit: int, most_bytes: int) -> list[Parked]:
    taken: list[Parked] = []
    after, left = _FIRST, None
    while len(taken) < limit:
        row = await held.fetchrow(_TAKE, now, *after, left)
        if row is None:
            break
        taken.append(_parked(row))
        after = (taken[-1].due_at, taken[-1].id)
        left = most_bytes - sum(len(delivery.value) for delivery in taken)
    return taken


def _parked(row: asyncpg.Record) -> Parked:
    columns = dict(row)
    return Parked(**{**columns, "headers": _headers_decoder.decode(columns["headers"])})


def _require_reason(reason: str) -> None:
    if not _REASON.fullmatch(reason):
        raise ValueError("a reason is a short name in lower case with hyphens")


def _identity(provider: str, value: bytes, headers: bytes) -> uuid.UUID:
    """Equal for an equal record. Two lengths stand before the parts, which keeps them apart."""
    name = provider.encode()
    digest = hashlib.sha256(b"%d %d " % (len(name), len(headers)))
    for part in (name, headers, value):
        digest.update(part)
    return uuid.UUID(bytes=digest.digest()[:16], version=5)
