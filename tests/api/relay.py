"""A relay between a service and a store that loses requests or answers, as a network does when it breaks.

The connection ends, and whoever asked cannot know whether the request has arrived and taken effect. Killing a store
meets that moment by chance, the relay meets it each time.

    with Relay(platform.postgres.port, commits()) as relay:
        service = platform.service(…, environment={"AUREN_DATABASE_PORT": str(relay.port)})
        relay.lose("answer")
        …
        await relay.lost(2)
        relay.pass_on()

It is served by a thread of the test's own process. What goes through it must not be encrypted.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, Literal, Self

from tests.api.processes import free_port
from tests.api.services.waiting import until

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 * 1024

PRODUCE: Final = 0
OFFSET_COMMIT: Final = 8
"""Kafka's api keys."""

What = Literal["request", "answer"]
Finds = Callable[[bytes], bool]
"""Told of one connection's requests as they come, in pieces; says whether the piece ends one that is looked for."""


def everything() -> Finds:
    """Each request: the store is cut off."""
    return lambda _: True


_COMMIT: Final = b"Q\x00\x00\x00\x0cCOMMIT;\x00"


def commits(after: bytes = b"") -> Callable[[], Finds]:
    """PostgreSQL's COMMIT, as asyncpg sends it: in one piece.

    Only of transactions that prepare a statement with `after` in it, which asyncpg does once on a connection.
    """

    def finder() -> Finds:
        begun = False

        def finds(piece: bytes) -> bool:
            nonlocal begun
            begun |= after in piece
            if _COMMIT not in piece:
                return False
            found, begun = begun, False
            return found

        return finds

    return finder


def kafka_requests(api_key: int) -> Callable[[], Finds]:
    """Kafka's requests of one kind: four bytes of length, then two of the api key."""

    def finder() -> Finds:
        rest = bytearray()

        def finds(piece: bytes) -> bool:
            rest.extend(piece)
            found = False
            while len(rest) >= 4 and len(rest) >= 4 + int.from_bytes(rest[:4]):
                found |= int.from_bytes(rest[4:6]) == api_key
                del rest[: 4 + int.from_bytes(rest[:4])]
            return found

        return finds

    return finder


class Relay:
    """Takes connections on `port` of the loopback interface and leads them to another. Use as ``with``."""

    def __init__(self, target: int, finder: Callable[[], Finds], port: int | None = None) -> None:
        """`target` is the store's port; `finder` looks, in each connection, for requests that may get lost."""
        self.port = port or free_port()
        self._target = target
        self._finder = finder
        self._losing: What | None = None
        self.losses = 0
        """Requests and answers that were lost, in all."""
        self._before = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        serving = asyncio.start_server(self._relay, HOST, self.port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lose(self, what: What) -> None:
        """From now on each request that is looked for, or its answer, is lost, and the connection with it."""
        self._losing, self._before = what, self.losses

    def pass_on(self) -> None:
        """Everything goes through again."""
        self._losing = None

    async def lost(self, count: int) -> None:
        """Wait until so many were lost since `lose`. Raises TimeoutError."""

        async def enough() -> bool:
            return self.losses - self._before >= count

        await until(enough)

    async def _end(self) -> None:
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        unanswered = asyncio.Event()
        ways = (
            asyncio.create_task(self._requests(reader, behind_writer, unanswered)),
            asyncio.create_task(self._answers(behind_reader, writer, unanswered)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()
            behind_writer.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unanswered: asyncio.Event
    ) -> None:
        """Returns, which ends the connection, in place of passing on a request that is to be lost."""
        finds = self._finder()
        while piece := await reader.read(CHUNK_BYTES):
            if finds(piece):
                if self._losing == "request":
                    self.losses += 1
                    return
                if self._losing == "answer":
                    unanswered.set()
            writer.write(piece)
            await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unanswered: asyncio.Event
    ) -> None:
        """Returns, which ends the connection, in place of passing on an answer that is to be lost."""
        while piece := await reader.read(CHUNK_BYTES):
            if unanswered.is_set():
                self.losses += 1
                return
            writer.write(piece)
            await writer.drain()
