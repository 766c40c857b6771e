"""Deliveries that had to wait: a document is fetched, a payload downloaded, a person has connected meanwhile.

What fails is tried again as `later.py` says, at most for a day; then it goes to the dead letters with its reason, from
where it can be replayed. Replicas share the table and take what is due in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from auren import events
from auren.background import Background
from auren.bridge.decoders import Decoded, DecodeError, Pointer, merged
from auren.bridge.desk import Desk, Fate, Owned
from auren.bridge.fetching import Asked, Fetching
from auren.bridge.later import DEFECT, GONE, HELD_BACK, UNKNOWN_USER, VENDOR_AWAY, WAITS, LaterError, delay
from auren.bridge.outbox import Outbox, outgoing
from auren.bridge.parking import LEASE, Parked, Parking, PutOff
from auren.bridge.records import log_of
from auren.bridge.vendors import NotAllowedError, RetryLaterError, UnusableError, UpstreamFailedError
from auren.events import Delivery, InvalidRecordError
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.telemetry import Metrics, logger

RUNNERS: Final = 2
"""Turns at once in each replica: while one waits for a vendor that is slow, the other goes on."""

TAKE_DELIVERIES: Final = 32
TAKE_BYTES: Final = 16 * 1024 * 1024
"""In a turn. A body may be as large."""

LIGHT_AT_ONCE: Final = 16
"""Documents fetched at once in each replica: half of what the HTTP client has connections for."""

HEAVY_AT_ONCE: Final = 2
"""Deliveries with a body, or a payload, of up to 16 MiB, which takes many times that while it is decoded."""

IDLE_SECONDS: Final = 1.0
"""How often the table is asked while nothing is due; what this process has parked itself wakes it up at once."""

BEGIN_SECONDS: Final = 60.0
"""What has not begun so long after it was taken is given back: its lease would end in the middle."""

AWAY_SECONDS: Final = 5.0
"""Until a delivery is tried again that failed because Kafka or the database was away."""

COUNT_SECONDS: Final = 10.0
"""How old the gauges of parked deliveries may be."""

Download = Callable[[Pointer, datetime], Awaitable[bytes]]
"""The payload behind a pointer. Raises UnusableError and RetryLaterError."""

_log = logger(__name__)


class Errands:
    """Goes on with parked deliveries in the background. One for the process: it registers the metrics."""

    def __init__(
        self,
        desk: Desk,
        outbox: Outbox,
        parking: Parking,
        fetching: Fetching,
        download: Download,
        metrics: Metrics,
    ) -> None:
        """`outbox` and `parking` are shared with the collector."""
        self._desk = desk
        self._outbox = outbox
        self._parking = parking
        self._fetching = fetching
        self._download = download
        self._parked = metrics.gauge("parked_deliveries", "Deliveries that wait to be tried again")
        self._oldest = metrics.gauge("oldest_parked_seconds", "Age of the oldest of them, from when it was taken")
        self._counted_at = float("-inf")
        self._light, self._heavy = asyncio.Semaphore(LIGHT_AT_ONCE), asyncio.Semaphore(HEAVY_AT_ONCE)
        self._news = asyncio.Event()
        self._trouble: str | None = None
        self._tasks = [Background(f"errands-{number}", self._run) for number in range(RUNNERS)]

    async def start(self) -> None:
        """Begin in the background."""
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Stop; what was under way is parked as before."""
        for task in self._tasks:
            await task.stop()

    def wake(self) -> None:
        """Something was parked that is due now."""
        self._news.set()

    async def check(self) -> None:
        """For the health report: raises UnhealthyError when nobody goes on with parked deliveries."""
        if not all(task.running for task in self._tasks):
            raise UnhealthyError("parked deliveries are not tried again")
        if self._trouble is not None:
            raise UnhealthyError(self._trouble)

    async def _run(self) -> None:
        while True:
            try:
                busy = await self.turn(datetime.now(UTC))
                await self._count()
            except UnavailableError as error:
                self._tell(str(error))
                busy = False
            else:
                self._trouble = None
            if not busy:
                await self._idle()

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("parked deliveries wait", reason=trouble)
        self._trouble = trouble

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def _count(self) -> None:
        """Keep the gauges, but not at every turn: counting reads the whole table."""
        if time.monotonic() - self._counted_at >= COUNT_SECONDS:
            self._counted_at = time.monotonic()
            census = await self._parking.census()
            age = datetime.now(UTC) - census.oldest if census.oldest else timedelta()
            self._parked.set(census.parked)
            self._oldest.set(max(0.0, age.total_seconds()))

    async def turn(self, now: datetime) -> bool:
        """Try what is due; whether anything was. Raises UnavailableError; what it kept from its end is due again."""
        self._outbox.require()  # nothing is fetched that could not be sent
        held = self._fetching.held(now)
        taken = await self._parking.take_due(now, limit=TAKE_DELIVERIES, most_bytes=TAKE_BYTES, without=held)
        if not taken:
            return False
        turn = Turn(now)
        try:
            owners = await self._owners(taken)
            await asyncio.gather(*(self._one(parked, owners[parked.id], turn) for parked in taken))
        except UnavailableError as error:
            turn.trouble = error
        except asyncio.CancelledError:
            with contextlib.suppress(UnavailableError):
                await self._write(taken, turn)
            raise
        await self._settle(taken, turn)
        if turn.trouble is not None:
            raise turn.trouble
        return True

    async def _owners(self, taken: Sequence[Parked]) -> dict[uuid.UUID, Owned | Exception]:
        """Whose each delivery is, or why it cannot be read."""
        owners: dict[uuid.UUID, Owned | Exception] = {}
        deliveries: dict[uuid.UUID, Delivery] = {}
        for parked in taken:
            try:
                deliveries[parked.id] = events.delivery(parked.value, parked.headers)
            except InvalidRecordError as error:
                owners[parked.id] = error
        return owners | dict(zip(deliveries, await self._desk.owners(list(deliveries.values())), strict=True))

    async def _one(self, parked: Parked, owned: Owned | Exception, turn: Turn) -> None:
        """Bring one delivery to its end, or find out when it is tried again."""
        async with self._light if self._fetching.knows(parked.provider) else self._heavy:
            if time.monotonic() > turn.begin_until:
                return
            try:
                turn.settled[parked.id] = await self._outcome(parked, owned, turn)
            except UnavailableError as error:
                again = turn.now + timedelta(seconds=AWAY_SECONDS)
                turn.settled[parked.id] = PutOff(parked.id, again, parked.reason, tried=False)
                turn.trouble = error

    async def _outcome(self, parked: Parked, owned: Owned | Exception, turn: Turn) -> PutOff | None:
        """None when the delivery is done: everything of it is durable. Raises UnavailableError."""
        try:
            await self._finish(parked, owned, turn)
        except LaterError as later:
            return await self._later(parked, later, turn.now)
        except (NotAllowedError, UnusableError) as error:
            await self._bury(parked, "fetch", error)
        except (DecodeError, InvalidRecordError) as error:
            await self._bury(parked, "decode", error)
        except UnavailableError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the others must get their turn
            _log.exception("a parked delivery cannot be handled", provider=parked.provider)
            return await self._later(parked, LaterError(DEFECT), turn.now)
        return None

    async def _finish(self, parked: Parked, owned: Owned | Exception, turn: Turn) -> None:
        """Send what the delivery, and what it names or points at, holds."""
        if isinstance(owned, Exception):
            raise owned
        if owned.fate is Fate.ERASED:
            self._outbox.deliveries.labels(parked.provider, "erased").inc()
            return
        opened = await self._open(owned)
        found = [opened]
        for notice in opened.notices:
            found.append(await self._fetching.read(owned.delivery, notice, turn.asked, turn.now))
        for pointer in opened.pointers:
            found.append(await self._follow(parked, owned.delivery, pointer, turn.now))
        decoded = merged(found)
        await self._outbox.send([outgoing(event, parked.headers) for event in decoded.events])
        self._outbox.count(parked.provider, owned.delivery.received_at, decoded)

    async def _follow(self, parked: Parked, delivery: Delivery, pointer: Pointer, now: datetime) -> Decoded:
        """What a payload holds: a delivery like those that carry theirs, which names its person itself.

        The address ends long before patience does. So what cannot be used now goes on as what it is, without it.
        """
        body = await self._downloaded(pointer, now)
        payload = msgspec.structs.replace(delivery, body=body, content_encoding="", user_id="")
        alone = replace(parked, value=body, headers=payload.headers())
        try:
            return await self._payload(payload)
        except LaterError as later:
            due_at = now + delay(later.reason, 1)
            await self._parking.park([replace(alone, reason=later.reason, attempts=1, due_at=due_at)])
            self._outbox.deliveries.labels(parked.provider, "parked").inc()
        except DecodeError as error:
            await self._bury(alone, "decode", error)
        return Decoded()

    async def _downloaded(self, pointer: Pointer, now: datetime) -> bytes:
        try:
            return await self._download(pointer, now)
        except UpstreamFailedError as error:
            raise LaterError(VENDOR_AWAY, error.seconds, error.reason) from error
        except RetryLaterError as error:
            raise LaterError(HELD_BACK, error.seconds, error.reason) from error

    async def _payload(self, payload: Delivery) -> Decoded:
        """Raises DecodeError, LaterError while its person is unknown, UnavailableError."""
        [owned] = await self._desk.owners([payload])
        if isinstance(owned, DecodeError):
            raise owned
        if owned.fate is Fate.ERASED:
            return Decoded()
        decoded = await self._open(owned)
        if decoded.pointers or decoded.notices:
            raise DecodeError("a payload that points at another one")
        return decoded

    async def _open(self, owned: Owned) -> Decoded:
        """What a delivery holds; what it says of connections is taken in."""
        if owned.fate is Fate.UNKNOWN:
            raise LaterError(UNKNOWN_USER)
        decoded = await self._desk.decode(owned.delivery)
        await self._desk.connect(owned.delivery, decoded.changes)
        return decoded

    async def _later(self, parked: Parked, later: LaterError, now: datetime) -> PutOff | None:
        """When it is tried again; None when patience has ended and it is done. Raises UnavailableError."""
        if now - parked.first_seen < WAITS[later.reason].patience:
            due_at = now + delay(later.reason, parked.attempts, later.seconds)
            return PutOff(parked.id, due_at, later.reason, tried=later.reason != HELD_BACK)
        if later.reason == GONE:
            self._outbox.deliveries.labels(parked.provider, "gone").inc()
        else:
            await self._bury(parked, "wait", later)
        return None

    async def _bury(self, parked: Parked, stage: str, error: Exception) -> None:
        await self._outbox.bury(
            parked.value,
            parked.headers,
            log=log_of(parked.headers),
            provider=parked.provider,
            stage=stage,
            error=str(error),
            attempts=parked.attempts,
            first_seen=parked.first_seen,
        )

    async def _settle(self, taken: Sequence[Parked], turn: Turn) -> None:
        """Write down what became of the deliveries, as soon as the database is there. Raises UnavailableError."""
        until = time.monotonic() + LEASE.total_seconds()
        while True:
            try:
                return await self._write(taken, turn)
            except UnavailableError as error:
                if time.monotonic() >= until:  # they are due again, and somebody else may have done them
                    raise
                self._tell(str(error))
            await asyncio.sleep(IDLE_SECONDS)

    async def _write(self, taken: Sequence[Parked], turn: Turn) -> None:
        """What was interrupted, or not begun, is due as it was before. Raises UnavailableError."""
        given_back = [PutOff(p.id, p.due_at, p.reason, tried=False) for p in taken if p.id not in turn.settled]
        put_off = [settled for settled in turn.settled.values() if settled is not None]
        await self._parking.done([id_ for id_, settled in turn.settled.items() if settled is None])
        await self._parking.put_off(given_back + put_off)


@dataclass(slots=True)
class Turn:
    """What happens to some deliveries that were taken together at `now`."""

    now: datetime
    asked: Asked = field(default_factory=Asked)
    settled: dict[uuid.UUID, PutOff | None] = field(default_factory=dict)
    """None for what is done."""
    trouble: UnavailableError | None = None
    begin_until: float = field(default_factory=lambda: time.monotonic() + BEGIN_SECONDS)
    """Seconds of the monotonic clock."""
