"""People whom NEUROS knows when it is measured: four weeks of days and nights, and what it remembers of them.

The days come the way they do in life, as Terra's deliveries through the bridge, the log and the biometric service. Of
some people the last night was a bad one, so their mode is reflex. Memories are kept by the room that keeps them in
NEUROS, under NEUROS' role, but without their having been said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
from pydantic import SecretStr

from auren.bridge.simulated_history import History
from auren.bridge.simulated_people import people
from auren.bridge.simulated_vendors import PAST_PARTS, Sent, deliver
from auren.database import Database
from auren.neuros.memory import EmbeddingSettings, Item, Memories
from auren.neuros.memory.items import memory
from auren.settings import DatabaseSettings
from auren.telemetry import Metrics
from tests.api import stores
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service
from tests.api.services.waiting import until
from tests.bench import throughput
from tests.bench.webhooks import Bench

HISTORY_DAYS: Final = 28
PROVIDER: Final = "terra"
SEED: Final = 1
AT_ONCE: Final = 32
LONGEST_SECONDS: Final = 900
NEUROS: Final = "neuros-advanced"

TOPICS: Final = (
    "running by the river before work", "tea in the evening instead of coffee", "a walk after lunch",
    "reading on paper before bed", "swimming on Saturdays", "the window open at night", "long breaks from screens",
    "cooking for friends", "cycling to the office", "a nap on Sunday afternoons", "short meetings in the morning",
    "quiet music while working", "stretching after sitting", "an early dinner", "training with a friend",
    "a cold shower in summer", "hiking in the hills", "going to bed before eleven", "yoga on rest days",
    "a slow start on Mondays",
)  # fmt: skip
"""What a person likes: as many memories in the table, and half as many in Chroma."""

_KNOWN: Final = """
SELECT count(*) AS people FROM (
    SELECT user_id FROM daily_values WHERE user_id = ANY($1) AND metric = 'hrv_rmssd'
    GROUP BY user_id HAVING count(DISTINCT day) >= $2
) AS known
"""
_IN_REFLEX: Final = "SELECT count(*) AS people FROM people WHERE user_id = ANY($1) AND mode = 'reflex'"


@dataclass(frozen=True)
class People:
    """User ids: of those in reflex, and of the others."""

    reflex: Sequence[str]
    calm: Sequence[str]

    @property
    def all(self) -> list[str]:
        """Everybody."""
        return [*self.reflex, *self.calm]


def named(count: int, reflex: int) -> People:
    """So many people, of whom so many are in reflex."""
    names = [f"talking-{number:04d}" for number in range(count)]
    return People(names[:reflex], names[reflex:])


async def live_through(platform: Platform, them: People) -> None:
    """Deliver their four weeks and wait until they are learnt. Raises TimeoutError when they are not."""
    biometric = throughput.start(platform)
    bench = Bench(platform)
    with (
        bench.running("auren.bridge", "serve", count=1) as [bridge],
        bench.running("auren.bridge", "collect", count=1),
    ):
        biometric.wait_ready()
        await _deliver(bridge, _deliveries(them, bench.secret.encode()))
        await until(lambda: _learnt(platform, them), LONGEST_SECONDS)
    biometric.server.stop()


def _deliveries(them: People, key: bytes) -> Iterable[Sent]:
    """Four weeks, oldest first, then what is measured now; each signed when it is taken, for signatures age."""
    began = datetime.now(UTC)
    crowd = [*people(them.reflex, SEED, bad_night_before=began), *people(them.calm, SEED)]
    for past in History((PROVIDER,), crowd, HISTORY_DAYS, began):
        yield past.delivery(datetime.now(UTC), key)
    for person in crowd:
        for number in range(PAST_PARTS[PROVIDER]):
            yield deliver(PROVIDER, person, number, datetime.now(UTC), key)


async def _deliver(bridge: Service, deliveries: Iterable[Sent]) -> None:
    """Send all, in their order as far as what is under way at once allows. Raises aiohttp.ClientError for a refusal."""
    taken = iter(deliveries)

    async def send(client: aiohttp.ClientSession) -> None:
        for sent in taken:
            async with client.post(sent.path, data=sent.body, headers=sent.headers) as answer:
                answer.raise_for_status()

    async with aiohttp.ClientSession(bridge.url("")) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(send(client))


async def _learnt(platform: Platform, them: People) -> bool:
    [known] = await query(platform, _KNOWN, them.all, HISTORY_DAYS)
    [reflex] = await query(platform, _IN_REFLEX, list(them.reflex))
    await asyncio.sleep(0.5)  # the query takes from what it waits for
    return bool(known["people"] == len(them.all) and reflex["people"] == len(them.reflex))


async def remember(platform: Platform, chroma: stores.Chroma, them: People) -> int:
    """Give everybody memories in the table and in Chroma; how many there are."""
    async with _memories(platform, chroma) as room:
        kept = [await _remember(room, user) for user in them.all]
    return sum(kept)


async def _remember(room: Memories, user: str) -> int:
    now = datetime.now(UTC)
    lately, before = now - timedelta(days=20), now - timedelta(days=200)
    kept = await room.keep(user, [_liked(f"I like {topic}", lately) for topic in TOPICS])
    old = [_liked(f"I used to like {topic} a lot", before) for topic in TOPICS[::2]]
    cold = [found for item in old if (found := memory(user, item, before)) is not None]
    await room.cold.put(user, cold, await room.embedder.embed([one.text for one in cold]))
    return kept + len(cold)


def _liked(text: str, said_at: datetime) -> Item:
    return Item(kind="preference", text=text, source="said", said_at=said_at)


@asynccontextmanager
async def _memories(platform: Platform, chroma: stores.Chroma) -> AsyncIterator[Memories]:
    """The room, connected."""
    password = SecretStr(platform.passwords[NEUROS])
    database = Database(
        DatabaseSettings(
            database_host=platform.postgres.host,
            database_port=platform.postgres.port,
            database_name=platform.database,
            database_user=NEUROS.replace("-", "_"),
            database_password=password,
        ),
        application="bench",
    )
    settings = EmbeddingSettings(
        redis_host=platform.redis.host,
        redis_port=platform.redis.port,
        redis_password=SecretStr(platform.redis.password),
        chroma_host=chroma.host,
        chroma_port=chroma.port,
    )
    room = Memories(settings, database, Metrics("bench"))

    async def connected() -> bool:
        return database.link.connected and room.cold.link.connected

    await database.start()
    await room.start()
    try:
        await until(connected)
        yield room
    finally:
        await room.stop()
        await database.stop()
