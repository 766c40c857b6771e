"""From the log to events: read a delivery, decode it, write its events, and only then count it as done.

What can never work goes to `biometric-webhooks.dlq` with its reason. What needs an answer from somewhere else (a
payload that lies at an address, a person whom no connection names yet) is parked, so that it holds up nobody:
`errands.py` goes on with it. Doing a delivery twice changes nothing: the events have the same ids and versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from auren import events
from auren.bridge.decoders import Decoded, DecodeError
from auren.bridge.desk import Desk, Fate, Owned
from auren.bridge.outbox import Outbox, Portion
from auren.bridge.parking import Parking
from auren.events import Delivery, InvalidRecordError
from auren.kafka import Record
from auren.telemetry import Metrics

UNKNOWN_USER: Final = "unknown-user"
TO_FETCH: Final = "to-fetch"

UNKNOWN_USER_SECONDS: Final = 10.0
"""Vendors deliver before the person's browser has come back to us; so soon the next look."""


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
    """Handles the records of `biometric-webhooks` in order."""

    def __init__(
        self, desk: Desk, outbox: Outbox, parking: Parking, metrics: Metrics, now: Callable[[], datetime] = utc_now
    ) -> None:
        """`outbox` and `parking` are shared with the errands."""
        self._now = now
        self._desk = desk
        self._outbox = outbox
        self._parking = parking
        self._delay = metrics.histogram("delivery_delay_seconds", "From the webhook to the events", ("provider",))

    async def handle(self, records: Sequence[Record]) -> None:
        """Everything of `records` is durable when it returns. Raises UnavailableError.

        What is decoded is sent in portions, for a body takes many times its size then. Dead letters come last: what
        may have to be repeated must not bury the same record each time.
        """
        read = [(record, _read(record)) for record in records]
        good = [(record, found) for record, found in read if isinstance(found, Delivery)]
        owners = await self._desk.owners([delivery for _, delivery in good])
        dead = [Dead(r, "unknown", "read", str(found)) for r, found in read if isinstance(found, InvalidRecordError)]
        portion = Portion(self._outbox)
        for (record, delivery), owned in zip(good, owners, strict=True):
            provider = self._known(delivery)
            try:
                decoded = await self._handle(record, provider, owned)
                if decoded is not None:
                    await portion.add(provider, decoded, record.headers)
            except (DecodeError, InvalidRecordError) as error:
                dead.append(Dead(record, provider, "decode", str(error)))
            await asyncio.sleep(0)  # decoding does not wait for anything, and the group's heartbeats must
        await portion.send()
        for letter in dead:
            await self._bury(letter)
        self._observe_delay(delivery for _, delivery in good)

    async def _handle(self, record: Record, provider: str, owned: Owned | DecodeError) -> Decoded | None:
        """What to send for a delivery; None where there is nothing to send now. Raises DecodeError."""
        if isinstance(owned, DecodeError):
            raise owned
        if owned.fate is Fate.ERASED:
            self._outbox.deliveries.labels(provider, "erased").inc()
            return None
        if owned.fate is Fate.UNKNOWN:
            await self._park(record, provider, UNKNOWN_USER, UNKNOWN_USER_SECONDS)
            return None
        decoded = await self._desk.decode(owned.delivery)
        if decoded.notices or decoded.pointers:
            await self._park(record, provider, TO_FETCH, 0.0)
            return None
        await self._desk.connect(owned.delivery, decoded.changes)
        return decoded

    async def _park(self, record: Record, provider: str, reason: str, seconds: float) -> None:
        await self._parking.park(
            record.value or b"",
            [(name, bytes(content or b"")) for name, content in record.headers],
            provider=provider,
            reason=reason,
            first_seen=_first_seen(record),
            attempts=1,
            due_at=self._now() + timedelta(seconds=seconds),
        )
        self._outbox.deliveries.labels(provider, "parked").inc()

    async def _bury(self, letter: Dead) -> None:
        record = letter.record
        await self._outbox.bury(
            record.value or b"",
            record.headers,
            provider=letter.provider,
            stage=letter.stage,
            error=letter.error,
            attempts=1,
            first_seen=_first_seen(record),
            key=record.key,
        )

    def _observe_delay(self, deliveries: Iterable[Delivery]) -> None:
        now = self._now()
        for delivery in deliveries:
            delay = (now - delivery.received_at).total_seconds()
            self._delay.labels(self._known(delivery)).observe(max(0.0, delay))

    def _known(self, delivery: Delivery) -> str:
        return delivery.provider if self._desk.knows(delivery.provider) else "unknown"


def _first_seen(record: Record) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def _read(record: Record) -> Delivery | InvalidRecordError:
    try:
        return events.delivery(record.value or b"", record.headers)
    except InvalidRecordError as error:
        return error
