"""The warm tier: the table `memories`. Whoever writes is alone with that person's memories, in all tiers.

An erasure commits who is erased before it takes the same lock: it either comes after a write and finds what that
left, or the write comes after it and finds the person erased.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from auren.link import UnavailableError
from auren.neuros.memory.items import Memory
from auren.neuros.memory.rules import Limits

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

TABLES: Final = ("memories",)
"""Every table of this room that holds something of a person; `Memories.of` tells it and `Memories.erase` empties it."""

LOCK_WAIT: Final = "10s"

_COLUMNS = "id, kind, text, source, confidence, session, protocol, said_at, kept_at, used, last_used_at"
_OF = f"SELECT {_COLUMNS}, embedder, embedding FROM memories WHERE user_id = $1"
_SOME = f"{_OF} AND id = ANY($2)"
_PUT = f"""
INSERT INTO memories (user_id, {_COLUMNS}, embedder, embedding)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (user_id, id) DO UPDATE SET kind = excluded.kind, text = excluded.text, source = excluded.source,
    confidence = excluded.confidence, session = excluded.session, protocol = excluded.protocol,
    said_at = excluded.said_at, kept_at = excluded.kept_at, used = excluded.used, last_used_at = excluded.last_used_at,
    embedder = coalesce(excluded.embedder, memories.embedder),
    embedding = coalesce(excluded.embedding, memories.embedding)
"""
_REMOVE = "DELETE FROM memories WHERE user_id = $1 AND id = ANY($2)"
_ERASE = "DELETE FROM memories WHERE user_id = $1"
_COUNT = "SELECT count(*) FROM memories WHERE user_id = $1"
_USED = """
UPDATE memories SET used = used + 1, last_used_at = now()
FROM set_config('synchronous_commit', 'off', true) AS hurried WHERE user_id = $1 AND id = ANY($2)
"""
"""A use may be forgotten by a crash of the server: the connection is free again before the disk has written it."""

_DUE = """
SELECT user_id FROM memories WHERE user_id > $1 GROUP BY user_id
HAVING count(*) > $2 OR min(touched_at) < $3 OR min(kept_at) < $4 ORDER BY user_id LIMIT $5
"""
_WITHOUT_VECTOR = """
SELECT user_id, id, text FROM memories WHERE embedder IS DISTINCT FROM $1 AND (user_id, id) > ($2, $3)
ORDER BY user_id, id LIMIT $4
"""
_VECTOR = "UPDATE memories SET embedder = $3, embedding = $4 WHERE user_id = $1 AND id = $2"
_ALL = "SELECT count(*) FROM memories"
_WAIT = f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('memories/' || $1, 0))"
_ERASED = "SELECT EXISTS (SELECT FROM erased_users WHERE user_id = $1)"
_ERASED_LATELY = "SELECT user_id FROM erased_users WHERE erased_at > now() - make_interval(days => $1)"

SCAN_SECONDS: Final = 300.0
"""For statements that go through the whole table, once an hour."""


class ErasedError(Exception):
    """The person was erased: nothing of them may be written."""


class Row(NamedTuple):
    """A memory, and its vector where the embedder of that name has made one."""

    memory: Memory
    embedder: str | None = None
    packed: bytes | None = None


@asynccontextmanager
async def alone(connection: PoolConnectionProxy, user_id: str, *, anybody: bool = False) -> AsyncIterator[None]:
    """A transaction that nobody else who writes a person's memories runs beside.

    Raises ErasedError for somebody who was erased, unless `anybody` may be reached; UnavailableError for all that the
    server refuses.
    """
    try:
        async with connection.transaction():
            await connection.execute(_WAIT)
            await connection.execute(_ALONE, user_id)
            if not anybody and await connection.fetchval(_ERASED, user_id):
                raise ErasedError
            yield
    except asyncpg.PostgresError as error:
        raise UnavailableError("database", type(error).__name__) from error


async def of(connection: PoolConnectionProxy, user_id: str, ids: Collection[str] | None = None) -> list[Row]:
    """A person's memories, or those of them with these ids."""
    found = await (connection.fetch(_OF, user_id) if ids is None else connection.fetch(_SOME, user_id, list(ids)))
    return [_row(record) for record in found]


async def put(connection: PoolConnectionProxy, user_id: str, rows: Sequence[Row]) -> None:
    """Write memories in place of those with the same ids; without a new vector the one that is there stays."""
    await connection.executemany(_PUT, [(user_id, *_values(row)) for row in rows])


async def remove(connection: PoolConnectionProxy, user_id: str, ids: Collection[str]) -> int:
    """Delete some of a person's memories; how many there were."""
    return _count(await connection.execute(_REMOVE, user_id, list(ids)))


async def erase(connection: PoolConnectionProxy, user_id: str) -> int:
    """Delete all of a person's memories; how many there were."""
    return _count(await connection.execute(_ERASE, user_id))


async def count(connection: PoolConnectionProxy, user_id: str) -> int:
    """How many a person has."""
    return int(await connection.fetchval(_COUNT, user_id))


async def used(connection: PoolConnectionProxy, user_id: str, ids: Collection[str]) -> None:
    """Count a use of each; one that is gone meanwhile stays gone."""
    await connection.execute(_USED, user_id, list(ids))


async def due(connection: PoolConnectionProxy, after: str, target: int, limits: Limits, most: int) -> list[str]:
    """The next people, by their ids, who may have something to become cold."""
    found = await connection.fetch(_DUE, after, target, limits.touched, limits.kept, most, timeout=SCAN_SECONDS)
    return [record["user_id"] for record in found]


async def without_vector(
    connection: PoolConnectionProxy, embedder: str, after: tuple[str, str], most: int
) -> list[tuple[str, str, str]]:
    """The next (user, id, text) whose vector is not of this embedder."""
    found = await connection.fetch(_WITHOUT_VECTOR, embedder, *after, most, timeout=SCAN_SECONDS)
    return [(record["user_id"], str(record["id"]), record["text"]) for record in found]


async def set_vectors(connection: PoolConnectionProxy, embedder: str, packed: Mapping[tuple[str, str], bytes]) -> None:
    """Write the vectors of (user, id); one that is gone meanwhile stays gone."""
    await connection.executemany(_VECTOR, [(*key, embedder, vector) for key, vector in packed.items()])


async def size(connection: PoolConnectionProxy) -> int:
    """How many there are of everybody."""
    return int(await connection.fetchval(_ALL, timeout=SCAN_SECONDS))


async def erased_lately(connection: PoolConnectionProxy, days: int) -> list[str]:
    """Who was erased in the last days."""
    return [record["user_id"] for record in await connection.fetch(_ERASED_LATELY, days)]


def _row(record: asyncpg.Record) -> Row:
    memory = Memory(
        id=str(record["id"]),
        kind=record["kind"],
        text=record["text"],
        source=record["source"],
        confidence=record["confidence"],
        session=record["session"],
        protocol=record["protocol"],
        said_at=record["said_at"],
        kept_at=record["kept_at"],
        used=record["used"],
        last_used_at=record["last_used_at"],
    )
    return Row(memory, record["embedder"], record["embedding"])


def _values(row: Row) -> tuple[object, ...]:
    m = row.memory
    told = (m.id, m.kind, m.text, m.source, m.confidence, m.session, m.protocol)
    return (*told, m.said_at, m.kept_at, m.used, m.last_used_at, row.embedder, row.packed)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
