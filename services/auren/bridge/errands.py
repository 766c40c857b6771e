"""Deliveries that had to wait: a payload is downloaded, a person has connected meanwhile, or it is a dead letter.

Each is tried again after a delay that doubles, for a day; then it goes to `biometric-webhooks.dlq` with its reason,
from where it can be replayed. Replicas share the table and never take the same delivery.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from auren import events
from auren.background import Background
from auren.bridge.collector import TO_FETCH, UNKNOWN_USER
from auren.bridge.decoders import Decoded, DecodeError, Pointer
from auren.bridge.desk import Desk, Fate
from auren.bridge.outbox import Outbox, outgoing
from auren.bridge.parking import Parked, Parking, Taken
from auren.bridge.vendors import RetryLaterError, UnusableError
from auren.events import Delivery, InvalidRecordError
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.telemetry import Metrics, logger

PATIENCE: Final = timedelta(hours=24)
"""How long a delivery is tried, from when the bridge took it. Terra itself repeats for as long."""

FIRST_DELAY_SECONDS: Final = 30.0
LONGEST_DELAY_SECONDS: Final = 3600.0
IDLE_SECONDS: Final = 1.0
"""How often the table is asked while nothing is due."""

COUNT_SECONDS: Final = 10.0
"""How old the gauge of parked deliveries may be."""

NOT_CONNECTED: Final = "not-connected"
VENDOR_AWAY: Final = "vendor-away"
DEFECT: Final = "defect"

AT_ONCE: Final = 2
"""Deliveries in hand at once, in each replica. A payload of 16 MiB takes many times that while it is decoded, and each
holds a connection of the pool for as long as it takes."""

Download = Callable[[Pointer, datetime], Awaitable[bytes]]
"""The payload behind a pointer. Raises UnusableError and RetryLaterError."""

_log = logger(__name__)


class LaterError(Exception):
    """Not now: `reason` is a short name, `seconds` the least time to wait."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        """See the class."""
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds


class Errands:
    """Goes on with parked deliveries in the background."""

    def __init__(self, desk: Desk, outbox: Outbox, parking: Parking, download: Download, metrics: Metrics) -> None:
        """`outbox` and `parking` are shared with the collector."""
        self._desk = desk
        self._outbox = outbox
        self._parking = parking
        self._download = download
        self._parked = metrics.gauge("parked_deliveries", "Deliveries that wait to be tried again")
        self._counted_at = float("-inf")
        self._tasks = [Background(f"errands-{number}", self._run) for number in range(AT_ONCE)]

    async def start(self) -> None:
        """Begin in the background."""
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Stop; what was under way stays parked."""
        for task in self._tasks:
            await task.stop()

    async def check(self) -> None:
        """For the health report: raises UnhealthyError when nobody goes on with parked deliveries."""
        if not all(task.running for task in self._tasks):
            raise UnhealthyError("parked deliveries are not tried again")

    async def _run(self) -> None:
        while True:
            try:
                busy = await self.turn(datetime.now(UTC))
                await self._count()
            except UnavailableError as error:
                _log.info("parked deliveries wait", reason=str(error))
                busy = False
            if not busy:
                await asyncio.sleep(IDLE_SECONDS)

    async def _count(self) -> None:
        """Keep the gauge, but not at every delivery: counting reads the whole table."""
        if time.monotonic() - self._counted_at >= COUNT_SECONDS:
            self._counted_at = time.monotonic()
            self._parked.set(await self._parking.count())

    async def turn(self, now: datetime) -> bool:
        """Try what is due; whether anything was. Raises UnavailableError."""
        async with self._parking.take_due(now, limit=1) as taken:
            for parked in taken.deliveries:
                await self._settle(taken, parked, await self._try(parked, now), now)
        return bool(taken.deliveries)

    async def _try(self, parked: Parked, now: datetime) -> list[Decoded] | Exception:
        try:
            return await self._work(events.delivery(parked.value, parked.headers), now)
        except (LaterError, DecodeError, InvalidRecordError, UnusableError, UnavailableError) as error:
            return error
        except Exception:  # noqa: BLE001 - whatever it is, those behind it must get their turn
            _log.exception("a parked delivery cannot be handled", provider=parked.provider)
            return LaterError(DEFECT)

    async def _work(self, delivery: Delivery, now: datetime) -> list[Decoded]:
        """What the delivery and what it points at hold."""
        decoded = await self._open(delivery)
        if decoded.notices:
            raise LaterError(NOT_CONNECTED)
        found = [decoded]
        for pointer in decoded.pointers:
            found.append(await self._follow(delivery, pointer, now))
        return found

    async def _follow(self, delivery: Delivery, pointer: Pointer, now: datetime) -> Decoded:
        """The payload is a delivery like those that carry theirs; it names its person itself."""
        try:
            body = await self._download(pointer, now)
        except RetryLaterError as error:
            raise LaterError(VENDOR_AWAY, error.seconds) from error
        decoded = await self._open(msgspec.structs.replace(delivery, body=body, content_encoding="", user_id=""))
        if decoded.pointers or decoded.notices:
            raise DecodeError("a payload that points at another one")
        return decoded

    async def _open(self, delivery: Delivery) -> Decoded:
        """What a delivery holds; what it says of connections is taken in. Nothing for a person who was erased."""
        [owned] = await self._desk.owners([delivery])
        if isinstance(owned, DecodeError):
            raise owned
        if owned.fate is Fate.ERASED:
            return Decoded()
        if owned.fate is Fate.UNKNOWN:
            raise LaterError(UNKNOWN_USER)
        decoded = await self._desk.decode(owned.delivery)
        await self._desk.connect(owned.delivery, decoded.changes)
        return decoded

    async def _settle(self, taken: Taken, parked: Parked, outcome: list[Decoded] | Exception, now: datetime) -> None:
        """Make the outcome durable, and only then take the delivery off the table. Raises UnavailableError."""
        provider = parked.provider
        if isinstance(outcome, UnavailableError):
            raise outcome
        if isinstance(outcome, LaterError):
            if now - parked.first_seen < PATIENCE:
                await taken.put_off(parked.id, now + _delay(parked.attempts, outcome.seconds), outcome.reason)
                return
            await self._bury(parked, "wait", outcome.reason)
        elif isinstance(outcome, Exception):
            await self._bury(parked, "fetch" if parked.reason == TO_FETCH else "decode", str(outcome))
        else:
            try:
                records = [outgoing(event, parked.headers) for decoded in outcome for event in decoded.events]
            except InvalidRecordError as error:
                await self._bury(parked, "decode", str(error))
            else:
                await self._outbox.send(records)
                for decoded in outcome:
                    self._outbox.count(provider, decoded)
        await taken.done(parked.id)

    async def _bury(self, parked: Parked, stage: str, error: str) -> None:
        await self._outbox.bury(
            parked.value,
            parked.headers,
            provider=parked.provider,
            stage=stage,
            error=error,
            attempts=parked.attempts,
            first_seen=parked.first_seen,
        )


def _delay(attempts: int, least_seconds: float) -> timedelta:
    """Doubling from the first delay to an hour, and no sooner than the vendor asked for."""
    doubled = FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 10)
    return timedelta(seconds=max(least_seconds, min(LONGEST_DELAY_SECONDS, doubled)))
