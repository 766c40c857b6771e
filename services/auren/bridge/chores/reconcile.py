"""Asks the vendors for what changed lately, for every person: deliveries get lost, and some data has no webhook.

Vendors give up on a delivery after an hour or a day, and WHOOP itself recommends such a job. Each kind of document of
each person is asked for by time, from where the last round ended and a look-back further: devices bring measurements
days late. Who has just connected is read from the backfill on, in the same way. The events are those that the webhook
would have led to, with the same ids, so whatever is found twice is the same.

Which version a document gets. WHOOP's carry `updated_at`, and the decoder takes that. Oura's carry nothing of the
kind and are ordered by the time of their notices. A document that is found here is as new as the moment before it was
asked for, less MARGIN. A notice of a later change then overwrites it, though it be fetched in the same minute; what a
notice has brought within MARGIN before the question is not overwritten by a list that lags behind, nor is a deletion
undone by one; and older states give way to what the vendor says now. `received_at` is the moment of the question, too:
a person who is erased while the vendor answers does not come back.

No transaction is open while a vendor is asked. A round ends when the vendor, our limits, its requests or its time
say so, and the next one goes on with whoever waits longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from auren.bridge.chores.progress import Due, Progress
from auren.bridge.decoders import Decoded, DecodeError, Document, DocumentDecoder
from auren.bridge.decoders.values import milliseconds
from auren.bridge.desk import off_the_loop
from auren.bridge.outbox import Outbox, Outgoing, outgoing
from auren.bridge.tokens import DecryptionError
from auren.bridge.vendors import (
    GoneError,
    ListPage,
    NotAllowedError,
    Page,
    RetryLaterError,
    UnusableError,
    UpstreamFailedError,
)
from auren.events import InvalidRecordError
from auren.telemetry import Metrics, logger

MARGIN: Final = timedelta(minutes=5)
"""How far a vendor's lists may lag behind its notices, and its clock be before ours."""

SLICE: Final = timedelta(days=10)
"""Of a longer time so much is asked for at once and then counts as done: Oura gives at most 30 days of heart rates,
and ten days of WHOOP's documents are a page."""

MOST_PAGES: Final = 100
"""Of one slice; a vendor whose pages do not end is left."""

AT_ONCE: Final = 500
"""Kinds of documents of people that one round looks up."""

ROUND_SHARE: Final = 0.5
"""Of the period between two rounds, what one may take: other chores wait for it."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """What one provider is asked for. `every`: how often, by type of document.

    `most_requests` of one round, so that the quota lasts for what webhooks name.
    """

    provider: str
    every: Mapping[str, timedelta]
    page: ListPage
    decode: DocumentDecoder
    most_requests: int


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back: behind the last round, and at first."""

    lookback: timedelta
    backfill: timedelta

    def start(self, until: datetime | None, now: datetime) -> datetime:
        """From when on to ask what is reconciled `until`."""
        earliest = now - max(self.backfill, self.lookback)
        return earliest if until is None else max(earliest, until - self.lookback)


class Round:
    """What one round may still do with one provider."""

    def __init__(self, requests: int, ends_at: float, clock: Callable[[], float]) -> None:
        """`ends_at` by `clock`, in seconds."""
        self._requests = requests
        self._ends_at = ends_at
        self._clock = clock

    def spend(self) -> None:
        """A request is made."""
        self._requests -= 1

    @property
    def over(self) -> bool:
        """Whether nothing new may begin; what has begun may end."""
        return self._requests <= 0 or self._clock() >= self._ends_at


class Reconciliation:
    """For all providers with an API. One for the process: it registers the metrics."""

    def __init__(
        self,
        sources: tuple[Listed, ...],
        progress: Progress,
        outbox: Outbox,
        reach: Reach,
        round_seconds: float,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`round_seconds`: how often `run` is called."""
        self._sources = sources
        self._progress = progress
        self._outbox = outbox
        self._reach = reach
        self._round_seconds = round_seconds
        self._now = now
        self._clock = clock
        self._put_off: dict[tuple[str, str, str], datetime] = {}
        self._outcomes = metrics.counter("reconciliations", "Kinds of documents of people", ("provider", "outcome"))
        self._waiting = metrics.gauge("reconciliations_waiting", "Those that are due", ("provider",))

    async def run(self) -> None:
        """One round. Raises UnavailableError: Kafka or the database is away."""
        self._outbox.require()
        now = self._now()
        self._put_off = {key: until for key, until in self._put_off.items() if until > now}
        for source in self._sources:
            before = {data_type: now - every for data_type, every in source.every.items()}
            try:
                await self._round(source, before)
            finally:
                self._waiting.labels(source.provider).set(await self._progress.count(source.provider, before))

    async def _round(self, source: Listed, before: Mapping[str, datetime]) -> None:
        ends_at = self._clock() + self._round_seconds * ROUND_SHARE / len(self._sources)
        this = Round(source.most_requests, ends_at, self._clock)
        for due in await self._progress.due(source.provider, before, AT_ONCE + len(self._put_off)):
            if this.over:
                return
            if self._is_put_off(source, due):
                continue
            outcome = await self._outcome(source, due, this)
            self._outcomes.labels(source.provider, outcome).inc()
            if outcome in {HELD_BACK, VENDOR_AWAY}:
                return

    async def _outcome(self, source: Listed, due: Due, this: Round) -> str:
        """What became of it. Raises UnavailableError."""
        try:
            await self._catch_up(source, due, this)
        except UpstreamFailedError as error:
            # It may be this person's data that the vendor fails on: next time the others come first.
            self._leave(source, due)
            _log.info("the round ends", provider=source.provider, reason=error.reason)
            return VENDOR_AWAY
        except RetryLaterError:
            return HELD_BACK
        except NotAllowedError as error:
            self._leave(source, due, all_types=error.connection_broken)
            return "not-connected" if error.connection_broken else "refused"
        except DecryptionError:
            self._leave(source, due, all_types=True)
            return "tokens-unreadable"
        except (GoneError, UnusableError) as error:
            self._leave(source, due)
            _log.warning("a list is not usable", provider=source.provider, type=due.data_type, reason=error.reason)
            return "unusable"
        return "done"

    async def _catch_up(self, source: Listed, due: Due, this: Round) -> None:
        """Ask slice by slice until now, or until the round is over. Raises as vendors.Fetch."""
        start = self._reach.start(due.until, self._now())
        while not this.over:
            now = self._now()
            end = min(start + SLICE, now)
            await self._slice(source, due, start, end, this)
            await self._progress.save(source.provider, due.user_id, due.data_type, end)
            if end >= now:
                return
            start = end

    async def _slice(self, source: Listed, due: Due, start: datetime, end: datetime, this: Round) -> None:
        token: str | None = None
        for _ in range(MOST_PAGES):
            asked_at = self._now()
            this.spend()
            page = await source.page(due.user_id, due.data_type, start, end, token)
            await self._send(source, due, page, asked_at)
            token = page.next_token
            if token is None:
                return
        raise UnusableError("the pages of a list do not end")

    async def _send(self, source: Listed, due: Due, page: Page, asked_at: datetime) -> None:
        """The events of a page are durable when it returns. What cannot be read now never can, so it stops nothing."""
        document = Document(
            user_id=due.user_id,
            data_type=due.data_type,
            document_id="",
            version=milliseconds(asked_at - MARGIN),
            received_at=asked_at,
        )
        try:
            decoded = await off_the_loop(source.provider, len(page.raw), source.decode, document, page.raw)
        except DecodeError as error:
            _log.warning("nothing of a page can be read", provider=source.provider, reason=str(error))
            self._outcomes.labels(source.provider, "unreadable-page").inc()
            return
        await self._outbox.send(_records(decoded))
        self._outbox.count_found(source.provider, decoded)

    def _leave(self, source: Listed, due: Due, *, all_types: bool = False) -> None:
        """Not this one again before it would be due next: those behind it must get their turn."""
        for data_type in source.every if all_types else (due.data_type,):
            until = self._now() + source.every[data_type]
            self._put_off[source.provider, due.user_id, data_type] = until

    def _is_put_off(self, source: Listed, due: Due) -> bool:
        return (source.provider, due.user_id, due.data_type) in self._put_off


HELD_BACK: Final = "held-back"
"""A limit is reached or a breaker is open: what is left of the quota is for what webhooks name."""
VENDOR_AWAY: Final = "vendor-away"


def _records(decoded: Decoded) -> list[Outgoing]:
    """The records of the events that may be sent; the others are counted as skipped and taken out."""
    records, sent = [], []
    for event in decoded.events:
        try:
            records.append(outgoing(event, ()))
        except InvalidRecordError:
            decoded.skipped["event"] += 1
        else:
            sent.append(event)
    decoded.events = sent
    return records
