"""From an outbox table to Kafka: each record once and in order, also when a process dies between the two.

Whoever decides something adds a row in the transaction of the decision. Rows are marked as attempted before they are
sent and deleted once Kafka has them. Whoever finds a marked row does not know whether Kafka has it; it asks the topic,
whose records carry their ids, forgets those that are there and sends the others. An attempt that the topic does not
show after some time has failed for good, so a new one may take the place of its mark.
One process at a time does this, whoever holds the advisory lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec
from aiokafka.errors import KafkaError

from auren.background import Background
from auren.database import Database
from auren.events import Headers
from auren.kafka import Producer
from auren.link import UnavailableError, describe
from auren.settings import KafkaSettings
from auren.telemetry import Metrics, logger
from auren.topic_reader import TopicReader
from auren.topics import TOPICS, Topic

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

PAUSE_SECONDS: Final = 1.0
"""How often rows are looked for that another process has left; our own are sent at once."""

MOST_ROWS: Final = 500
MARGIN: Final = timedelta(minutes=5)
"""How much earlier than the attempt a record's time in Kafka may lie: the clocks of producer and database differ."""

SETTLING: Final = timedelta(seconds=15)
"""How long after an attempt of which the end is not known its records may still arrive: a delivery's time limit is
5 s, a request's 10 s. Until then nothing is sent, for the order's sake."""

ID: Final = "ce_id"

_topics: Final = {topic.name: topic for topic in TOPICS}
_headers: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
_log = logger(__name__)


def pack(headers: Headers) -> bytes:
    """Headers as the column `headers` holds them: MessagePack, a list of pairs."""
    return msgspec.msgpack.encode(headers)


class Place(msgspec.Struct, frozen=True):
    """Where a service's rows stand: the table, the advisory lock of whoever sends them, and what brokers call it."""

    table: str
    lock: int
    client_id: str

    @property
    def take(self) -> str:
        """The oldest rows: how many at most, how long an attempt takes to settle."""
        return (
            "SELECT id, topic, user_id, value, headers, attempted_at,"
            " coalesce(attempted_at > now() - $2::interval, false) AS settling"
            f" FROM {self.table} ORDER BY id LIMIT $1"
        )

    @property
    def mark(self) -> str:
        """Rows that are about to be sent."""
        return f"UPDATE {self.table} SET attempted_at = now() WHERE id = ANY($1)"

    @property
    def done(self) -> str:
        """Rows that Kafka has."""
        return f"DELETE FROM {self.table} WHERE id = ANY($1)"


class Letter(msgspec.Struct, frozen=True):
    """One row."""

    id: int
    topic: Topic
    user_id: str
    value: bytes
    headers: Headers
    attempted_at: datetime | None
    settling: bool

    @property
    def record_id(self) -> str:
        """What tells the record from every other in its topic."""
        return dict(self.headers)[ID].decode()


class Outbox:
    """Sends what stands in the table, as a part of the service."""

    def __init__(
        self, settings: KafkaSettings, database: Database, producer: Producer, metrics: Metrics, place: Place
    ) -> None:
        """Database and producer are owned by the service."""
        self._place = place
        self._settings = settings
        self._database = database
        self._producer = producer
        self._task = Background("outbox", self._run)
        self._filled = asyncio.Event()
        self._sent = metrics.counter("outbox_records", "Records sent from the outbox", ("topic",))
        self._found = metrics.counter("outbox_found", "Records of the outbox that Kafka turned out to have already")

    async def start(self) -> None:
        """Begin to send in the background."""
        self._task.start()

    async def stop(self) -> None:
        """Stop; what is not sent stays in the table for the next process."""
        await self._task.stop()

    def wake(self) -> None:
        """Rows have been committed."""
        self._filled.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._filled.wait(), PAUSE_SECONDS)
            self._filled.clear()
            with contextlib.suppress(UnavailableError):
                await self.send()

    async def send(self) -> int:
        """Send what is there; returns how many rows left the table. Raises UnavailableError."""
        total = 0
        while count := await self._send_some():
            total += count
        return total

    async def _send_some(self) -> int:
        async with self._alone() as connection:
            if connection is None:
                return 0
            letters = [_letter(row) for row in await connection.fetch(self._place.take, MOST_ROWS, SETTLING)]
            if not letters or any(letter.settling for letter in letters):
                return 0
            there = await self._there([letter for letter in letters if letter.attempted_at is not None])
            if there:
                # Before anything else: a later mark would hide when these were sent.
                await connection.execute(self._place.done, list(there))
            rest = [letter for letter in letters if letter.id not in there]
            await connection.execute(self._place.mark, [letter.id for letter in rest])
            await self._deliver(rest)
            await connection.execute(self._place.done, [letter.id for letter in rest])
        return len(letters)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[PoolConnectionProxy | None]:
        """A connection that holds the lock, None while another process does. Raises UnavailableError."""
        try:
            async with self._database.connection() as connection:
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._place.lock):
                    yield None
                    return
                try:
                    yield connection
                finally:
                    # A connection that broke has given the lock back by itself.
                    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        await connection.execute("SELECT pg_advisory_unlock($1)", self._place.lock)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("database", type(error).__name__) from error

    async def _there(self, doubtful: Sequence[Letter]) -> set[int]:
        """Rows of `doubtful` whose records are in their topics. Raises UnavailableError."""
        found: set[int] = set()
        for topic in {letter.topic for letter in doubtful}:
            letters = [letter for letter in doubtful if letter.topic == topic]
            since = min(letter.attempted_at for letter in letters if letter.attempted_at is not None) - MARGIN
            known = await self._ids(topic, since)
            found |= {letter.id for letter in letters if letter.record_id in known}
        self._found.inc(len(found))
        return found

    async def _ids(self, topic: Topic, since: datetime) -> set[str]:
        try:
            async with TopicReader(self._settings, self._place.client_id, topic) as reader:
                return await reader.ids_since(since, ID)
        except (KafkaError, OSError, TimeoutError) as error:
            raise UnavailableError("kafka", describe(error)) from error

    async def _deliver(self, letters: Sequence[Letter]) -> None:
        for topic in {letter.topic for letter in letters}:
            records = [(x.user_id.encode(), x.value, x.headers) for x in letters if x.topic == topic]
            await self._producer.send_all(topic, records)
            self._sent.labels(topic.name).inc(len(records))


def _letter(row: asyncpg.Record) -> Letter:
    return Letter(
        row["id"], _topics[row["topic"]], row["user_id"], row["value"], _headers.decode(row["headers"]),
        row["attempted_at"], row["settling"],
    )  # fmt: skip
