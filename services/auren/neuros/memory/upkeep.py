"""What is old and unused becomes cold: every hour, by one replica at a time, person by person.

A memory is written to Chroma before it leaves the table. A process that dies in between leaves it in both, where
recall tells it once, and the next round ends the move.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import asyncpg

from auren.background import Background
from auren.link import UnavailableError
from auren.neuros.memory import rules, warm
from auren.neuros.memory.items import Memory
from auren.neuros.memory.memories import Memories
from auren.neuros.memory.warm import ErasedError, Row
from auren.telemetry import Metrics, logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

LOCK: Final = 4_158_201_748
"""Advisory lock of the replica that is at it."""

FIRST_SECONDS: Final = 90.0
PERIOD_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 300.0
"""When it failed."""

PEOPLE: Final = 200
TEXTS: Final = 200
"""Of one statement, and one request to the embedder."""

ERASED_DAYS: Final = 2
"""For so long those who were erased are erased again: a write that Chroma had not answered may come late."""

EVER_DAYS: Final = 36_500
"""At the first round of a process all are: they may have been erased while NEUROS was switched off."""

NO_ID: Final = "00000000-0000-0000-0000-000000000000"

_log = logger(__name__)


class Upkeep:
    """The part of the service that moves memories."""

    def __init__(self, memories: Memories, metrics: Metrics) -> None:
        """The memories are the service's, and started before."""
        self._memories = memories
        self._erased_days = EVER_DAYS
        self._size = metrics.gauge("memory_items", "Memories of everybody, where this replica counted last", ("tier",))
        self._task = Background("memory-upkeep", self._work)

    async def start(self) -> None:
        """Begin, a minute and a half from now."""
        self._task.start()

    async def stop(self) -> None:
        """End; what has moved stays moved."""
        await self._task.stop()

    async def once(self) -> bool:
        """One round; False if another replica is at it. Raises UnavailableError, or asyncpg.PostgresError."""
        async with self._memories.database.connection() as connection:
            # The pool frees the lock when it takes the connection back.
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                return False
            await self._erase_again(connection)
            await self._try_vectors(connection)
            await self._demote_all(connection)
            self._size.labels("warm").set(await warm.size(connection))
        self._size.labels("cold").set(await self._memories.cold.size())
        return True

    async def _erase_again(self, connection: PoolConnectionProxy) -> None:
        for user_id in await warm.erased_lately(connection, self._erased_days):
            async with warm.alone(connection, user_id, anybody=True):
                await warm.erase(connection, user_id)
            await self._memories.hot.erase(user_id, datetime.now(UTC))
            await self._memories.cold.erase(user_id)
        self._erased_days = ERASED_DAYS

    async def _try_vectors(self, connection: PoolConnectionProxy) -> None:
        """An embedder that is away must not keep what has vectors from moving."""
        try:
            await self._complete_vectors(connection)
        except UnavailableError as error:
            _log.warning("memories wait for their vectors", reason=error.reason)

    async def _complete_vectors(self, connection: PoolConnectionProxy) -> None:
        """Make the vectors of memories that were kept while the embedder was away, or was another one."""
        name, after = self._memories.embedder.name, ("", NO_ID)
        while texts := await warm.without_vector(connection, name, after, TEXTS):
            vectors = await self._memories.embedder.embed([text for _, _, text in texts])
            keys = [(user_id, one) for user_id, one, _ in texts]
            packed = dict(zip(keys, map(self._memories.pack, vectors), strict=True))
            await warm.set_vectors(connection, name, packed)
            after = keys[-1]

    async def _demote_all(self, connection: PoolConnectionProxy) -> None:
        limits, after = rules.limits(datetime.now(UTC)), ""
        while people := await warm.due(connection, after, rules.WARM_TARGET, limits, PEOPLE):
            for user_id in people:
                await self._demote(connection, user_id)
            after = people[-1]

    async def _demote(self, connection: PoolConnectionProxy, user_id: str) -> None:
        """Bring what is due of one person from the table to Chroma."""
        try:
            async with warm.alone(connection, user_id):
                rows = {row.memory.id: row for row in await warm.of(connection, user_id)}
                going = rules.to_cold([row.memory for row in rows.values()], datetime.now(UTC))
                moved = await self._copied(user_id, [rows[one.id] for one in going])
                await warm.remove(connection, user_id, [one.id for one in moved])
        except ErasedError:
            return
        self._memories.moves.labels("warm", "cold").inc(len(moved))

    async def _copied(self, user_id: str, rows: Sequence[Row]) -> list[Memory]:
        """Write rows to Chroma, as far as they have vectors; those that were written."""
        name = self._memories.embedder.name
        ready = [(row.memory, row.packed) for row in rows if row.embedder == name and row.packed]
        memories = [memory for memory, _ in ready]
        if memories:
            await self._make_room(user_id, {memory.id for memory in memories})
            await self._memories.cold.put(user_id, memories, [self._memories.unpack(packed) for _, packed in ready])
        return memories

    async def _make_room(self, user_id: str, coming: set[str]) -> None:
        there = [one for one in await self._memories.cold.of(user_id) if one.id not in coming]
        if over := rules.surplus(there, max(0, rules.COLD_MOST - len(coming))):
            await self._memories.cold.remove(user_id, [one.id for one in over])
            self._memories.dropped.labels("cold-full").inc(len(over))

    async def _work(self) -> None:
        pause = FIRST_SECONDS
        while True:
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))
            try:
                await self.once()
                pause = PERIOD_SECONDS
            except (UnavailableError, asyncpg.PostgresError) as error:
                reason = error.reason if isinstance(error, UnavailableError) else type(error).__name__
                _log.warning("memories could not be moved", reason=reason, again_in_seconds=AGAIN_SECONDS)
                pause = AGAIN_SECONDS
