"""From a decision to the sockets of its person, on whichever replica they are open.

Three ways lead there, and each intervention is told once on each socket. The process that decided hands it to its own
sockets. It tells the person's live stream in Redis, which the other replicas read. And each socket looks into the
table: when it opens, when the stream may have missed something, and every few seconds in case nobody could tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Final

from auren import live
from auren.events import InvalidRecordError
from auren.latest import HotValues
from auren.link import UnavailableError
from auren.live_reader import LiveReader
from auren.neuros.interventions.records import Intervention, decode, encode
from auren.neuros.interventions.store import Store
from auren.settings import RedisSettings
from auren.telemetry import Metrics, logger

MOST_READERS: Final = 200
"""Sockets of one process that read Redis; those beyond look into the table only."""

LOOK_SECONDS: Final = 15.0
"""How often a socket looks into the table although nothing tells it to."""

PAUSE_SECONDS: Final = 5.0
"""How long a socket waits for Redis to come back; it looks into the table meanwhile."""

Queue = asyncio.Queue[Intervention]

_log = logger(__name__)


class Sockets:
    """All sockets of this process that wait for interventions."""

    def __init__(self, settings: RedisSettings, hot: HotValues, store: Store, metrics: Metrics) -> None:
        """`hot` tells Redis; it and the store are the service's."""
        self._reader = LiveReader(settings, MOST_READERS)
        self._hot = hot
        self._store = store
        self._open: dict[str, set[Queue]] = defaultdict(set)
        self._untold = metrics.counter("interventions_untold", "Interventions that Redis did not take")
        self._delivered = metrics.counter("interventions_delivered", "Interventions that sockets have told")

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._reader.stop()

    async def tell(self, intervention: Intervention) -> None:
        """Hand an intervention to the person's sockets. Redis may be away: who reads there finds it in the table."""
        for queue in self._open.get(intervention.user_id, ()):
            queue.put_nowait(intervention)
        try:
            await self._hot.announce([(intervention.user_id, "intervention", encode(intervention))])
        except UnavailableError as error:
            self._untold.inc()
            _log.warning("an intervention is not told to other replicas at once", reason=error.reason)

    async def follow(self, user_id: str) -> AsyncIterator[Intervention]:
        """A person's interventions for one socket, without end: first those that wait for an answer, each once.

        Whoever asks for the next one has told the one before: it is then noted as delivered. Never raises for a store
        that is away.
        """
        told: set[uuid.UUID] = set()
        with self._subscribed(user_id) as queue:
            feeding = asyncio.create_task(self._feed(user_id, queue), name="interventions-feed")
            try:
                while True:
                    intervention = await _next(queue, feeding)
                    if intervention.id in told or intervention.expires_at <= datetime.now(UTC):
                        continue
                    told.add(intervention.id)
                    yield intervention
                    await self._note(intervention)
            finally:
                feeding.cancel()
                await asyncio.wait({feeding})

    @contextlib.contextmanager
    def _subscribed(self, user_id: str) -> Iterator[Queue]:
        queue: Queue = asyncio.Queue()
        self._open[user_id].add(queue)
        try:
            yield queue
        finally:
            self._open[user_id].discard(queue)
            if not self._open[user_id]:
                del self._open[user_id]

    async def _feed(self, user_id: str, queue: Queue) -> None:
        while True:
            try:
                await self._read(user_id, queue)
            except UnavailableError:
                await self._look(user_id, queue)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, user_id: str, queue: Queue) -> None:
        """Read the stream until Redis goes. Raises UnavailableError."""
        position, _ = await self._reader.begin(user_id)
        await self._look(user_id, queue)
        looked = time.monotonic()
        while True:
            look = time.monotonic() - looked > LOOK_SECONDS
            for entry in await self._reader.read(user_id, position):
                position = entry.id
                look = look or entry.kind == live.RESET
                if entry.kind == "intervention":
                    _put(queue, entry.data)
            if look:
                await self._look(user_id, queue)
                looked = time.monotonic()

    async def _look(self, user_id: str, queue: Queue) -> None:
        with contextlib.suppress(UnavailableError):
            for intervention in await self._store.waiting(user_id, datetime.now(UTC)):
                queue.put_nowait(intervention)

    async def _note(self, intervention: Intervention) -> None:
        """An intervention that is not noted as delivered has been told all the same."""
        self._delivered.inc()
        with contextlib.suppress(UnavailableError):
            await self._store.delivered(intervention.id)


async def _next(queue: Queue, feeding: asyncio.Task[None]) -> Intervention:
    """The next one; raises what ended the feeding, which is a defect."""
    getting = asyncio.ensure_future(queue.get())
    try:
        await asyncio.wait({getting, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            feeding.result()
        return await getting
    finally:
        getting.cancel()


def _put(queue: Queue, data: bytes) -> None:
    try:
        queue.put_nowait(decode(data))
    except InvalidRecordError:
        _log.error("an entry of a live stream is no intervention")
