"""From the logs to events: read a delivery, decode it, write its events, and only then count it as done.

What can never work goes to its log's dead letters with its reason. What needs an answer from somewhere else (a document
that a vendor has, a payload that lies at an address, a person whom no connection names yet) is parked, so that it holds
up nobody: `errands.py` goes on with it. Doing a delivery twice changes nothing: the events have the same ids and
versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from auren.bridge import records
from auren.bridge.decoders import Decoded, DecodeError
from auren.bridge.desk import Desk, Fate, Owned
from auren.bridge.later import TO_FETCH, UNKNOWN_USER, delay
from auren.bridge.outbox import Outbox, Portion
from auren.bridge.parking import Parking, Waiting
from auren.events import Delivery, InvalidRecordError
from auren.kafka import Record

SLICE_BYTES: Final = 4 * 1024 * 1024
"""Of the bodies that are in hand at once, or one that is larger. Each is decoded by itself, into many times its size;
what is parked of them is copied once, into a statement."""


class Dead(NamedTuple):
    """A record that can never work."""

    record: Record
    provider: str
    stage: str
    error: str


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)


class Collector:
    """Handles the records of the logs in order."""

    def __init__(
        self,
        desk: Desk,
        outbox: Outbox,
        parking: Parking,
        wake: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`outbox` and `parking` are shared with the errands, which `wake` tells that something is due."""
        self._now = now
        self._desk = desk
        self._outbox = outbox
        self._parking = parking
        self._wake = wake

    async def handle(self, batch: Sequence[Record]) -> None:
        """Everything of `batch` is durable when it returns. Raises UnavailableError.

        What is decoded is sent in portions, for a body takes many times its size then. Dead letters come last: what
        may have to be repeated must not bury the same record each time.
        """
        dead: list[Dead] = []
        for part in _slices(batch):
            dead += await self._handle(part)
        for letter in dead:
            await self._bury(letter)

    async def _handle(self, part: Sequence[Record]) -> list[Dead]:
        """Send and park a slice; what is left to bury."""
        read = [(record, _read(record)) for record in part]
        good = [(record, found) for record, found in read if isinstance(found, Delivery)]
        owners = await self._desk.owners([delivery for _, delivery in good])
        dead = [Dead(r, "unknown", "read", str(found)) for r, found in read if isinstance(found, InvalidRecordError)]
        portion, waiting = Portion(self._outbox), list[Waiting]()
        for (record, delivery), owned in zip(good, owners, strict=True):
            provider = self._known(delivery)
            try:
                found = await self._decoded(record, provider, owned)
                if isinstance(found, Waiting):
                    waiting.append(found)
                elif found is not None:
                    await portion.add(delivery, found, record.headers)
            except (DecodeError, InvalidRecordError) as error:
                dead.append(Dead(record, provider, "decode", str(error)))
            await asyncio.sleep(0)  # decoding does not wait for anything, and the group's heartbeats must
        await portion.send()
        await self._park(waiting)
        return dead

    async def _decoded(self, record: Record, provider: str, owned: Owned | DecodeError) -> Decoded | Waiting | None:
        """What to send for a delivery, or to park; None where there is nothing to do. Raises DecodeError."""
        if isinstance(owned, DecodeError):
            raise owned
        if owned.fate is Fate.ERASED:
            self._outbox.deliveries.labels(provider, "erased").inc()
            return None
        if owned.fate is Fate.UNKNOWN:
            return self._waiting(record, provider, UNKNOWN_USER, delay(UNKNOWN_USER, 1))
        decoded = await self._desk.decode(owned.delivery)
        if decoded.notices or decoded.pointers:
            return self._waiting(record, provider, TO_FETCH, timedelta())
        await self._desk.connect(owned.delivery, decoded.changes)
        return decoded

    def _waiting(self, record: Record, provider: str, reason: str, wait: timedelta) -> Waiting:
        return Waiting(
            provider=provider,
            value=record.value or b"",
            headers=records.parked_headers(record),
            reason=reason,
            attempts=1,
            first_seen=records.first_seen(record),
            due_at=self._now() + wait,
        )

    async def _park(self, waiting: Sequence[Waiting]) -> None:
        await self._parking.park(waiting)
        for one in waiting:
            self._outbox.deliveries.labels(one.provider, "parked").inc()
        if any(one.reason == TO_FETCH for one in waiting):
            self._wake()

    async def _bury(self, letter: Dead) -> None:
        record = letter.record
        await self._outbox.bury(
            record.value or b"",
            record.headers,
            log=record.topic,
            provider=letter.provider,
            stage=letter.stage,
            error=letter.error,
            attempts=1,
            first_seen=records.first_seen(record),
            key=record.key,
        )

    def _known(self, delivery: Delivery) -> str:
        return delivery.provider if self._desk.knows(delivery.provider) else "unknown"


def _slices(batch: Sequence[Record]) -> Iterator[list[Record]]:
    """The batch in parts of SLICE_BYTES at most, or of one record."""
    part: list[Record] = []
    size = 0
    for record in batch:
        length = len(record.value or b"")
        if part and size + length > SLICE_BYTES:
            yield part
            part, size = [], 0
        part.append(record)
        size += length
    if part:
        yield part


def _read(record: Record) -> Delivery | InvalidRecordError:
    try:
        return records.read(record)
    except InvalidRecordError as error:
        return error
