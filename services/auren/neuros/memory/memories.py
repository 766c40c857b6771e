"""What NEUROS remembers of a person, in three tiers: kept, recalled, told to the person, erased.

Nobody waits for a tier that is away: a recall says what it lacks, a keep raises, an erasure empties the tiers that it
reaches and raises, so that it is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import asyncpg
import msgspec

from auren.background import Background
from auren.database import Database
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.neuros.memory import rules, warm
from auren.neuros.memory.cold import Cold
from auren.neuros.memory.hot import Hot
from auren.neuros.memory.items import PASSING, Item, Memory, memory, merged
from auren.neuros.memory.settings import EmbeddingSettings
from auren.neuros.memory.warm import ErasedError, Row
from auren.telemetry import Metrics, logger

if TYPE_CHECKING:
    from types import ModuleType

    from asyncpg.pool import PoolConnectionProxy

    from auren.neuros.memory.embedder import Embedder, Vector

T = TypeVar("T")

EMBED_SECONDS: Final = 1.0
"""How long a memory that is kept waits for its vector: without one it is kept all the same."""

RECALL_SECONDS: Final = 1.0
"""How long each tier may take, and the embedder, which the cold tier waits for."""

MOST_TOLD: Final = 8
MOST_RECENT: Final = 5
MOST_ITEMS: Final = 20
"""Items of one call; a reply brings a few."""

MOST_COUNTING: Final = 50
"""Recalls whose use is being counted at once; of more it is not counted."""

_log = logger(__name__)


class Recalled(NamedTuple):
    """What was found: `memories` with the most relevant first, `recent` ones of the last hours, newest first.

    `troubles` says in words what could not be looked through, for the reply's data quality.
    """

    memories: tuple[Memory, ...] = ()
    recent: tuple[Memory, ...] = ()
    troubles: tuple[str, ...] = ()


class Memories:
    """All memories. Until the embedder is loaded, `recall` finds nothing and says so, and `keep` raises."""

    def __init__(self, settings: EmbeddingSettings, database: Database, metrics: Metrics) -> None:
        """The database is the service's; Redis and Chroma are connected here."""
        self._settings = settings
        self.database = database
        self.hot = Hot(settings)
        self.cold = Cold(settings, metrics)
        self.moves = metrics.counter("memory_moves", "Memories that moved between tiers", ("origin", "target"))
        self.dropped = metrics.counter("memory_dropped", "Memories that were not taken in or forgotten", ("why",))
        self._missed = metrics.counter("memory_recall_failures", "Recalls that a tier did not answer", ("tier",))
        self._loading = Background("memory", self._load, once=True)
        self._reason = "it is being loaded"
        self._embedder: Embedder | None = None
        self._vectors: ModuleType | None = None
        self._counting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to load in the background."""
        self._loading.start()

    async def stop(self) -> None:
        """Close what is open; uses that are being counted are waited for, which is bounded."""
        await self._loading.stop()
        if self._counting:
            await asyncio.wait(set(self._counting))
        await self.cold.stop()
        await self.hot.stop()
        if self._embedder is not None:
            await self._embedder.stop()

    async def check(self) -> None:
        """For the health report: Chroma is there, and its collection holds vectors of this embedder."""
        if self._embedder is None:
            raise UnhealthyError(self._reason)
        await self.cold.check()

    async def recall(self, user_id: str, message: str, most: int = MOST_TOLD) -> Recalled:
        """What is remembered that a reply to `message` may need. Never raises for a store that is away."""
        if self._embedder is None:
            return Recalled(troubles=(f"memory: {self._reason}",))
        relevant = self._embedder.relevant
        troubles: list[str] = []
        asking = asyncio.create_task(self._tried("embeddings", self._vector(message), troubles))
        vector, rows, cold, hot = await asyncio.gather(
            asking,
            self._tried("warm", self._rows(user_id), troubles),
            self._tried("cold", self._nearest(user_id, asking, most), troubles, RECALL_SECONDS * 2),
            self._tried("hot", self.hot.of(user_id, datetime.now(UTC)), troubles),
        )
        told = rules.told([*self._with_relevance(rows or (), vector), *(cold or ())], most, relevant)
        self._count_uses(user_id, [m for m in told if rules.is_relevant(m, relevant)])
        return Recalled(tuple(told), tuple((hot or ())[:MOST_RECENT]), tuple(troubles))

    async def keep(self, user_id: str, items: Sequence[Item]) -> int:
        """Keep items; how many were. Those that say the same are one; of somebody who was erased none is kept.

        Nor is one kept that was said before the person's memories were last erased: the reply that brings it was being
        made meanwhile.
        Raises UnavailableError: without the database nobody knows who was erased. Where Redis alone is away, what
        lasts has been kept.
        """
        now = datetime.now(UTC)
        found = [one for item in items[:MOST_ITEMS] if (one := memory(user_id, item, now)) is not None]
        passing = [one for one in found if one.kind in PASSING]
        lasting = _once([one for one in found if one.kind not in PASSING])
        if not found:
            return 0
        packed = await self.packed([one.text for one in lasting])
        rows = [Row(one, self.embedder.name if by else None, by) for one, by in zip(lasting, packed, strict=True)]
        try:
            async with self.database.connection() as connection, warm.alone(connection, user_id):
                since = await self.forgotten_at(user_id)
                kept = await self.merge(connection, user_id, [row for row in rows if _said(row.memory, since)])
                passing = [one for one in passing if _said(one, since)]
                trouble = await self._pass_on(user_id, passing)
        except ErasedError:
            return 0
        if trouble is not None:
            raise trouble
        return kept + len(passing)

    async def forgotten_at(self, user_id: str) -> datetime | None:
        """When a person's memories were erased last; None where that was long ago, or Redis is away.

        While it is, no erasure comes to its end, so it is repeated later.
        """
        try:
            return await self.hot.forgotten_at(user_id)
        except UnavailableError as error:
            _log.warning("it cannot be known who was forgotten", reason=error.reason)
            return None

    async def _pass_on(self, user_id: str, passing: Sequence[Memory]) -> UnavailableError | None:
        try:
            if passing:
                await self.hot.add(user_id, passing)
        except UnavailableError as error:
            return error
        return None

    async def of(self, user_id: str) -> list[Memory]:
        """All that is remembered of a person, each once. Raises UnavailableError where a tier cannot be read."""
        # Alone, or a memory that moves meanwhile is seen in neither tier.
        async with self.database.connection() as connection, warm.alone(connection, user_id, anybody=True):
            in_table = [row.memory for row in await warm.of(connection, user_id)]
            in_chroma = await self.cold.of(user_id)
        known = {one.id for one in in_table}
        hot = await self.hot.of(user_id, datetime.now(UTC))
        return [*hot, *in_table, *(one for one in in_chroma if one.id not in known)]

    async def erase(self, user_id: str) -> dict[str, int]:
        """Erase all that is remembered of a person, for good; how many there were by tier. May be repeated.

        Raises UnavailableError where a tier cannot be reached, after the others were emptied.
        """
        removed: dict[str, int] = {}
        troubles: list[UnavailableError] = []
        try:
            async with self.database.connection() as connection, warm.alone(connection, user_id, anybody=True):
                removed["warm"] = await warm.erase(connection, user_id)
                await self._erase_others(user_id, removed, troubles)
        except UnavailableError as error:
            troubles.append(error)
            await self._erase_others(user_id, removed, troubles)
        if troubles:
            raise troubles[0]
        return removed

    @property
    def embedder(self) -> Embedder:
        """The embedder. Raises UnavailableError until it is loaded."""
        if self._embedder is None:
            raise UnavailableError("memory", self._reason)
        return self._embedder

    async def packed(self, texts: Sequence[str]) -> list[bytes | None]:
        """The vectors of texts as the table holds them; None for all while the embedder is away."""
        if not texts:
            return []
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                vectors = await self.embedder.embed(texts)
        except (UnavailableError, TimeoutError) as error:
            if self._embedder is None:
                raise
            _log.warning("memories are kept without vectors for now", reason=type(error).__name__)
            return [None] * len(texts)
        return [self.pack(vector) for vector in vectors]

    def pack(self, vector: Vector) -> bytes:
        """A vector as the table holds it."""
        assert self._vectors is not None
        packed: bytes = self._vectors.pack(vector)
        return packed

    def unpack(self, packed: bytes) -> Vector:
        """A vector of the table."""
        assert self._vectors is not None
        vector: Vector = self._vectors.unpack(packed)
        return vector

    async def merge(self, connection: PoolConnectionProxy, user_id: str, rows: Sequence[Row]) -> int:
        """Put rows into the table, joined with those of the same ids, as far as there is room; how many were put."""
        there = {row.memory.id: row.memory for row in await warm.of(connection, user_id, [r.memory.id for r in rows])}
        joined = [
            row._replace(memory=merged(there[row.memory.id], row.memory)) for row in rows if row.memory.id in there
        ]
        room = max(0, rules.WARM_MOST - await warm.count(connection, user_id))
        new = [row for row in rows if row.memory.id not in there]
        self.dropped.labels("full").inc(len(new[room:]))
        await warm.put(connection, user_id, [*joined, *new[:room]])
        return len(joined) + len(new[:room])

    async def _load(self) -> None:
        try:
            self._vectors, embedder = await asyncio.to_thread(_import, self._settings)
        except Exception as error:
            self._reason = f"it cannot be loaded ({type(error).__name__})"
            raise
        self._embedder = embedder
        await self.cold.start(embedder)

    async def _vector(self, message: str) -> Vector:
        (vector,) = await self.embedder.embed([message])
        return vector

    async def _rows(self, user_id: str) -> list[Row]:
        async with self.database.connection() as connection:
            return await warm.of(connection, user_id)

    def _with_relevance(self, rows: Sequence[Row], vector: Vector | None) -> list[Memory]:
        """The rows' memories, with their relevance where they have a vector of this embedder."""
        if vector is None:
            return [row.memory for row in rows]
        assert self._vectors is not None
        size = len(self.pack(vector))
        comparable = [row for row in rows if row.embedder == self.embedder.name and len(row.packed or b"") == size]
        near = self._vectors.cosines(vector, [row.packed for row in comparable])
        by_id = {row.memory.id: one for row, one in zip(comparable, near, strict=True)}
        return [msgspec.structs.replace(row.memory, relevance=by_id.get(row.memory.id)) for row in rows]

    async def _nearest(self, user_id: str, asking: asyncio.Task[Vector | None], most: int) -> list[Memory]:
        # The vector is also for the warm ones: what is given up here must not end it.
        vector = await asyncio.shield(asking)
        return [] if vector is None else await self.cold.nearest(user_id, vector, most)

    async def _tried(
        self, tier: str, asked: Awaitable[T], troubles: list[str], seconds: float = RECALL_SECONDS
    ) -> T | None:
        """What a tier answers in time; None with a line in `troubles` where it does not."""
        try:
            async with asyncio.timeout(seconds):
                return await asked
        except (UnavailableError, TimeoutError, asyncpg.PostgresError) as error:
            reason = str(error) if isinstance(error, UnavailableError) else type(error).__name__
        except Exception as error:  # noqa: BLE001 - whatever it is, the reply goes on without this tier
            _log.exception("recalling met a defect", tier=tier)
            reason = type(error).__name__
        self._missed.labels(tier).inc()
        troubles.append(f"memory ({tier}): {reason}")
        return None

    def _count_uses(self, user_id: str, memories: Sequence[Memory]) -> None:
        """Count the use of memories in the background: a reply does not wait for it."""
        if not memories or len(self._counting) >= MOST_COUNTING:
            return
        task = asyncio.create_task(self._count(user_id, memories), name="memory-uses")
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)

    async def _count(self, user_id: str, memories: Sequence[Memory]) -> None:
        try:
            async with self.database.connection() as connection:
                await warm.used(connection, user_id, [one.id for one in memories if one.tier == "warm"])
            await self._count_cold(user_id, [one for one in memories if one.tier == "cold"])
        except (UnavailableError, asyncpg.PostgresError) as error:
            _log.warning("the use of memories is not counted", reason=type(error).__name__)
        except Exception:  # noqa: BLE001 - whatever it is, the use is not counted
            _log.exception("counting the use of memories met a defect")

    async def _count_cold(self, user_id: str, memories: Sequence[Memory]) -> None:
        now = datetime.now(UTC)
        used = [msgspec.structs.replace(one, used=one.used + 1, last_used_at=now) for one in memories]
        if used:
            await self.cold.used(user_id, used)
        if warming := [one for one in used if rules.becomes_warm(one)]:
            await self._promote(user_id, warming, now)

    async def _promote(self, user_id: str, warming: Sequence[Memory], now: datetime) -> None:
        """Bring cold memories back into the table. What was erased or brought meanwhile is not there any more."""
        packed = await self.packed([one.text for one in warming])
        by_id = dict(zip([one.id for one in warming], packed, strict=True))
        try:
            async with self.database.connection() as connection:
                async with warm.alone(connection, user_id):
                    there = await self.cold.of(user_id, list(by_id))
                    rows = [_promoted(one, now, self.embedder.name, by_id[one.id]) for one in there]
                    await self.merge(connection, user_id, rows)
                # Only now it is certain to be in the table; upkeep may have brought it back since.
                async with warm.alone(connection, user_id):
                    here = [row.memory.id for row in await warm.of(connection, user_id, list(by_id))]
                    moved = await self.cold.remove(user_id, here)
        except ErasedError:
            return
        self.moves.labels("cold", "warm").inc(moved)

    async def _erase_others(self, user_id: str, removed: dict[str, int], troubles: list[UnavailableError]) -> None:
        tiers = (("hot", self.hot.erase(user_id, datetime.now(UTC))), ("cold", self.cold.erase(user_id)))
        for tier, erasing in tiers:
            try:
                removed[tier] = await erasing
            except UnavailableError as error:
                troubles.append(error)


def _said(memory: Memory, since: datetime | None) -> bool:
    return since is None or memory.said_at > since


def _promoted(one: Memory, now: datetime, embedder: str, packed: bytes | None) -> Row:
    warm_again = msgspec.structs.replace(one, kept_at=now, used=0, tier="warm", relevance=None)
    return Row(warm_again, embedder if packed else None, packed)


def _once(memories: Sequence[Memory]) -> list[Memory]:
    """Memories of one call, those with the same id joined."""
    found: dict[str, Memory] = {}
    for one in memories:
        found[one.id] = merged(found[one.id], one) if one.id in found else one
    return list(found.values())


def _import(settings: EmbeddingSettings) -> tuple[ModuleType, Embedder]:
    """numpy and the embedder's libraries take a second; this runs in a thread."""
    from auren.neuros.memory import vectors
    from auren.neuros.memory.embedder import LocalEmbedder

    if settings.embeddings_mode == "local":
        return vectors, LocalEmbedder(settings.dimension)
    from auren.neuros.memory.openai_embedder import OpenAiEmbedder

    return vectors, OpenAiEmbedder(settings)
