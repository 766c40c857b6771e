"""Live streams to readers as server-sent events (WHATWG HTML, section 9.2), from a person's stream in Redis (live.py).

Whoever comes gets a `snapshot` first: the latest values and the mode. Who comes back with the id of the last event
goes on behind it, on any replica; where something may have been missed, also by a reader who is slow, an event `reset`
says so and a snapshot follows, so that nothing is missing unnoticed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from auren import live
from auren.biometric.learnt import Learnt
from auren.http import ProblemError
from auren.latest import LatestValue, LatestValues
from auren.link import UnavailableError
from auren.live_reader import Entry, LiveReader
from auren.settings import RedisSettings

MOST_STREAMS: Final = 200
MOST_PER_USER: Final = 5
HEARTBEAT_SECONDS: Final = 15
RETRY_MS: Final = 3000
"""What the browser is told to wait before it comes back."""

_encoder: Final = msgspec.json.Encoder()
_values: Final = msgspec.json.Decoder(list[LatestValue])


class LiveStreams:
    """All streams of this process."""

    def __init__(
        self, settings: RedisSettings, latest: LatestValues, learnt: Learnt, serving: Callable[[], bool]
    ) -> None:
        """`serving` turns False when the process is to stop."""
        self._reader = LiveReader(settings, MOST_STREAMS)
        self._latest = latest
        self._learnt = learnt
        self._serving = serving
        self._open: Counter[str] = Counter()

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._reader.stop()

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
            position, resumed = await self._reader.begin(user_id, last_id)
            first = f"retry: {RETRY_MS}\n\n".encode()
            if not resumed:
                first += _event(live.RESET, position, b"{}") if last_id is not None else b""
                first += _event("snapshot", position, await self._snapshot(user_id))
            yield first
            async for piece in self._follow(user_id, position, valid):
                yield piece
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]

    async def _follow(self, user_id: str, position: str, valid: Callable[[], bool]) -> AsyncIterator[bytes]:
        told = time.monotonic()
        while self._serving() and valid():
            try:
                entries = await self._reader.read(user_id, position)
                pieces = [await self._piece(user_id, entry) for entry in entries]
            except UnavailableError:
                return
            if entries:
                position, told = entries[-1].id, time.monotonic()
            elif time.monotonic() - told > HEARTBEAT_SECONDS:
                pieces, told = [b": nothing new\n\n"], time.monotonic()
            for piece in pieces:
                yield piece

    async def _piece(self, user_id: str, entry: Entry) -> bytes:
        """An entry as readers get it."""
        data = entry.data
        if entry.kind == "values":
            data = _encoder.encode([value.shown() for value in _values.decode(data)])
        told = _event(entry.kind, entry.id, data)
        return told if entry.kind != live.RESET else told + _event("snapshot", entry.id, await self._snapshot(user_id))

    async def _snapshot(self, user_id: str) -> bytes:
        latest, mode = await self._latest.of(user_id), await self._learnt.mode(user_id)
        now: dict[str, Any] = {
            "values": [latest.values[metric].shown() for metric in sorted(latest.values)],
            "mode": mode["mode"] if mode else None,
            "since": mode["mode_since"] if mode else None,
        }
        return _encoder.encode(now)


def _event(kind: str, identifier: str, data: bytes) -> bytes:
    """One event; the data is JSON of one line."""
    return f"id: {identifier}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"
