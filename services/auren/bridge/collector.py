"""From the log to events: read a delivery, decode it, write its events, and only then count it as done.

What can never work goes to `biometric-webhooks.dlq` with its reason; what may work later is tried again. Doing a
delivery twice changes nothing: the events have the same ids and versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from auren import events
from auren.bridge.decoders import Decoded, DecodeError, Decoder
from auren.events import Delivery, Event, Headers, InvalidRecordError
from auren.kafka import Producer, Record
from auren.telemetry import Metrics, logger
from auren.topics import EVENTS, WEBHOOKS_DLQ

FLUSH_BYTES: Final = 1024 * 1024
"""Events are sent in portions of about this size."""

THREAD_FROM_BYTES: Final = 256 * 1024
"""Larger bodies are decoded in a thread: the event loop must go on to keep the membership of the group."""

ErasedUsers = Callable[[Sequence[str]], Awaitable[Mapping[str, datetime]]]
"""When users were erased, for those of the given ones who were. Raises UnavailableError."""

Outgoing = tuple[bytes | None, bytes, Headers]

_log = logger(__name__)


class Collector:
    """Handles the records of `biometric-webhooks` in order."""

    def __init__(
        self, producer: Producer, decoders: Mapping[str, Decoder], erased_users: ErasedUsers, metrics: Metrics
    ) -> None:
        """`decoders` by provider name."""
        self._producer = producer
        self._decoders = decoders
        self._erased_users = erased_users
        self._deliveries = metrics.counter("deliveries", "Deliveries handled", ("provider", "outcome"))
        self._events = metrics.counter("events", "Events written", ("provider", "kind"))
        self._readings = metrics.counter("readings", "Readings written", ("provider",))
        self._unknown = metrics.counter("unknown_items", "Items of a kind that is not known", ("provider",))
        self._skipped = metrics.counter("skipped_samples", "Samples of a known kind that cannot be read", ("provider",))
        self._delay = metrics.histogram("delivery_delay_seconds", "From the webhook to the events", ("provider",))

    async def handle(self, records: Sequence[Record]) -> None:
        """Everything of `records` is durable when it returns. Raises UnavailableError."""
        deliveries = [(record, _read(record)) for record in records]
        erased = await self._erased(deliveries)
        outgoing: list[Outgoing] = []
        counted: list[tuple[str, Decoded]] = []
        size = 0
        for record, delivery in deliveries:
            for key, value, headers in await self._events_of(record, delivery, erased, counted):
                outgoing.append((key, value, headers))
                size += len(value)
                if size >= FLUSH_BYTES:
                    await self._producer.send_all(EVENTS, outgoing)
                    outgoing, size = [], 0
        if outgoing:
            await self._producer.send_all(EVENTS, outgoing)
        for provider, decoded in counted:
            self._count(provider, decoded)
        now = datetime.now(UTC)
        for _, delivery in deliveries:
            if isinstance(delivery, Delivery):
                delay = (now - delivery.received_at).total_seconds()
                self._delay.labels(self._known(delivery.provider)).observe(max(0.0, delay))

    async def _erased(
        self, deliveries: Sequence[tuple[Record, Delivery | InvalidRecordError]]
    ) -> Mapping[str, datetime]:
        users = {delivery.user_id for _, delivery in deliveries if isinstance(delivery, Delivery)} - {""}
        return await self._erased_users(sorted(users)) if users else {}

    async def _events_of(
        self,
        record: Record,
        delivery: Delivery | InvalidRecordError,
        erased: Mapping[str, datetime],
        counted: list[tuple[str, Decoded]],
    ) -> list[Outgoing]:
        """What to send for a record; what is to be counted once that is durable is added to `counted`."""
        if isinstance(delivery, InvalidRecordError):
            await self._bury(record, "unknown", "read", str(delivery))
            return []
        provider = self._known(delivery.provider)
        gone = erased.get(delivery.user_id)
        if gone is not None and delivery.received_at <= gone:
            self._deliveries.labels(provider, "erased").inc()
            return []
        try:
            decoded = await self._decode(delivery)
            outgoing = [_outgoing(event, record) for event in decoded.events]
        except (DecodeError, InvalidRecordError) as error:
            await self._bury(record, provider, "decode", str(error))
            return []
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - decoders are pure: what one raises now it raises always
            _log.exception("a decoder has a defect", provider=provider)
            await self._bury(record, provider, "decode", f"defect: {type(error).__name__}")
            return []
        counted.append((provider, decoded))
        return outgoing

    async def _decode(self, delivery: Delivery) -> Decoded:
        decoder = self._decoders.get(delivery.provider)
        if decoder is None:
            raise DecodeError("no decoder for this provider")
        if len(delivery.body) < THREAD_FROM_BYTES and not delivery.content_encoding:
            return decoder(delivery)
        return await asyncio.to_thread(decoder, delivery)

    def _count(self, provider: str, decoded: Decoded) -> None:
        self._deliveries.labels(provider, "decoded").inc()
        for event in decoded.events:
            self._events.labels(provider, event.kind).inc()
            self._readings.labels(provider).inc(len(event.readings))
        if decoded.unknown or decoded.skipped:
            self._unknown.labels(provider).inc(decoded.unknown.total())
            self._skipped.labels(provider).inc(decoded.skipped.total())
            # Counts only: the names come from the person's document.
            _log.info("left out", provider=provider, unknown=decoded.unknown.total(), skipped=decoded.skipped.total())

    async def _bury(self, record: Record, provider: str, stage: str, error: str) -> None:
        """Put the record into the dead letter topic with its reason."""
        headers = events.dead_letter_headers(
            record.headers,
            stage=stage,
            error=error,
            attempts=1,
            first_seen=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        )
        await self._producer.send(WEBHOOKS_DLQ, record.value or b"", record.key, headers)
        self._deliveries.labels(provider, "dead").inc()
        _log.warning("dead letter", provider=provider, stage=stage, reason=error)

    def _known(self, provider: str) -> str:
        """A header is not trusted to make a metric label."""
        return provider if provider in self._decoders else "unknown"


def _read(record: Record) -> Delivery | InvalidRecordError:
    try:
        return events.delivery(record.value or b"", record.headers)
    except InvalidRecordError as error:
        return error


def _outgoing(event: Event, record: Record) -> Outgoing:
    """The record of an event, with the trace context of the delivery. Raises InvalidRecordError."""
    faults = events.faults(event)
    if faults:
        raise InvalidRecordError(faults[0])
    value = events.encode(event)
    if len(value) > events.MAX_EVENT_BYTES:
        raise InvalidRecordError("an event is too large")
    headers = events.event_headers(event)
    headers += [(name, content) for name, content in record.headers if name == "traceparent"]
    return event.user_id.encode(), value, headers
