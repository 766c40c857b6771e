"""Live streams to readers as server-sent events (WHATWG HTML, section 9.2), from a person's stream in Redis (live.py).

Whoever comes gets a `snapshot` first: the latest values and the mode. Who comes back with the id of the last event
goes on behind it, on any replica; where something may have been missed, also by a reader who is slow, an event `reset`
says so and a snapshot follows, so that nothing is missing unnoticed.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from auren import live
from auren.biometric.learnt import Learnt
from auren.http import ProblemError
from auren.latest import LatestValue, LatestValues
from auren.link import UnavailableError, describe
from auren.redis_client import AWAY, redis_client
from auren.settings import RedisSettings

MOST_STREAMS: Final = 200
MOST_PER_USER: Final = 5
BLOCK_SECONDS: Final = 5
"""How long Redis is asked to wait; also how soon a stream notices that the process is to stop."""

HEARTBEAT_SECONDS: Final = 15
RETRY_MS: Final = 3000
"""What the browser is told to wait before it comes back."""

ENTRIES_AT_ONCE: Final = 100
_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")
_encoder: Final = msgspec.json.Encoder()
_values: Final = msgspec.json.Decoder(list[LatestValue])


class LiveStreams:
    """All streams of this process."""

    def __init__(
        self, settings: RedisSettings, latest: LatestValues, learnt: Learnt, serving: Callable[[], bool]
    ) -> None:
        """`serving` turns False when the process is to stop."""
        self._redis = redis_client(
            settings, connections=MOST_STREAMS + 2, timeout_seconds=2.0 * BLOCK_SECONDS, decode=True
        )
        self._watch = self._redis.register_script(live.WATCH)
        self._latest = latest
        self._learnt = learnt
        self._serving = serving
        self._open: Counter[str] = Counter()

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def events(self, user_id: str, last_id: str | None, valid: Callable[[], bool]) -> AsyncIterator[bytes]:
        """The stream of a person, behind `last_id` where that is known, as long as the reader's token is `valid`.

        Ends as well when Redis goes or the process is to stop: the reader comes back. Raises UnavailableError or
        ProblemError before its first piece.
        """
        if self._open[user_id] >= MOST_PER_USER:
            raise ProblemError(429, "too-many-streams", "too many streams", f"at most {MOST_PER_USER} for one person")
        if self._open.total() >= MOST_STREAMS:
            raise ProblemError(503, "unavailable", "too many streams", "ask again later", {"Retry-After": "5"})
        self._open[user_id] += 1
        try:
            position, resumed = await self._begin(user_id, last_id)
            yield f"retry: {RETRY_MS}\n\n".encode()
            if not resumed:
                if last_id is not None:
                    yield _event(live.RESET, position, b"{}")
                yield _event("snapshot", position, await self._snapshot(user_id))
            async for piece in self._follow(user_id, position, valid):
                yield piece
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]

    async def _begin(self, user_id: str, last_id: str | None) -> tuple[str, bool]:
        """(id behind which to read, whether that goes on without a gap). Watching begins before anything is read."""
        try:
            await self._watch(keys=[live.stream(user_id), live.watched(user_id)])
            oldest: Any = await self._redis.xrange(live.stream(user_id), count=1)
            newest: Any = await self._redis.xrevrange(live.stream(user_id), count=1)
        except AWAY as error:
            raise UnavailableError("redis", describe(error)) from error
        known = last_id is not None and oldest and newest and _ID.fullmatch(last_id)
        if last_id is not None and known and _number(oldest[0][0]) <= _number(last_id) <= _number(newest[0][0]):
            return last_id, True
        return (newest[0][0] if newest else "0-0"), False

    async def _follow(self, user_id: str, position: str, valid: Callable[[], bool]) -> AsyncIterator[bytes]:
        told = time.monotonic()
        while self._serving() and valid():
            try:
                await self._watch(keys=[live.stream(user_id), live.watched(user_id)])
                read: Any = await self._redis.xread(
                    {live.stream(user_id): position}, count=ENTRIES_AT_ONCE, block=BLOCK_SECONDS * 1000
                )
                pieces = [
                    await self._piece(user_id, position, fields) for position, fields in (read[0][1] if read else ())
                ]
            except (*AWAY, UnavailableError):
                return
            if pieces:
                position, told = read[0][1][-1][0], time.monotonic()
            elif time.monotonic() - told > HEARTBEAT_SECONDS:
                pieces, told = [b": nothing new\n\n"], time.monotonic()
            for piece in pieces:
                yield piece

    async def _piece(self, user_id: str, position: str, fields: dict[str, str]) -> bytes:
        """An entry as readers get it."""
        kind, data = fields["kind"], fields["data"].encode()
        if kind == "values":
            data = _encoder.encode([value.shown() for value in _values.decode(data)])
        told = _event(kind, position, data)
        return told if kind != live.RESET else told + _event("snapshot", position, await self._snapshot(user_id))

    async def _snapshot(self, user_id: str) -> bytes:
        latest, mode = await self._latest.of(user_id), await self._learnt.mode(user_id)
        now: dict[str, Any] = {
            "values": [latest.values[metric].shown() for metric in sorted(latest.values)],
            "mode": mode["mode"] if mode else None,
            "since": mode["mode_since"] if mode else None,
        }
        return _encoder.encode(now)


def _number(identifier: str) -> tuple[int, int]:
    """An entry's id as Redis orders it."""
    milliseconds, _, sequence = identifier.partition("-")
    return int(milliseconds), int(sequence)


def _event(kind: str, identifier: str, data: bytes) -> bytes:
    """One event; the data is JSON of one line."""
    return f"id: {identifier}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"
