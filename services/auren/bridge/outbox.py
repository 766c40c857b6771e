"""Where the collector's results go: events to `biometric-events`, what can never work to the dead letters. Counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from auren import events
from auren.bridge.decoders import Decoded
from auren.bridge.records import dead_letters_of
from auren.events import Delivery, Event, Headers, InvalidRecordError
from auren.kafka import Producer
from auren.telemetry import Metrics, logger
from auren.topics import EVENTS

FLUSH_BYTES: Final = 1024 * 1024
"""Events are sent in portions of about this size."""

Outgoing = tuple[bytes | None, bytes, Headers]

_log = logger(__name__)


class Outbox:
    """One for the process: it registers the metrics."""

    def __init__(self, producer: Producer, metrics: Metrics) -> None:
        """What `producer` raises comes through: UnavailableError."""
        self._producer = producer
        self.deliveries = metrics.counter("deliveries", "Deliveries handled", ("provider", "outcome"))
        self._delay = metrics.histogram("delivery_delay_seconds", "From the webhook to the events", ("provider",))
        self._events = metrics.counter("events", "Events written", ("provider", "kind"))
        self._readings = metrics.counter("readings", "Readings written", ("provider",))
        self._unknown = metrics.counter("unknown_items", "Items of a kind that is not known", ("provider",))
        self._skipped = metrics.counter("skipped_samples", "Samples of a known kind that cannot be read", ("provider",))

    def require(self) -> None:
        """Raises UnavailableError while nothing can be sent."""
        self._producer.require()

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """All of them durable when it returns. Raises UnavailableError."""
        portion: list[Outgoing] = []
        size = 0
        for record in outgoing:
            portion.append(record)
            size += len(record[1])
            if size >= FLUSH_BYTES:
                await self._producer.send_all(EVENTS, portion)
                portion, size = [], 0
        if portion:
            await self._producer.send_all(EVENTS, portion)

    def count(self, provider: str, received_at: datetime, decoded: Decoded) -> None:
        """What was sent of a delivery; call it after that."""
        self.deliveries.labels(provider, "decoded").inc()
        self._delay.labels(provider).observe(max(0.0, (datetime.now(UTC) - received_at).total_seconds()))
        self.count_found(provider, decoded)

    def count_found(self, provider: str, decoded: Decoded) -> None:
        """What was sent of something that is no delivery; call it after that."""
        for event in decoded.events:
            self._events.labels(provider, event.kind).inc()
            self._readings.labels(provider).inc(len(event.readings))
        if decoded.unknown or decoded.skipped:
            self._unknown.labels(provider).inc(decoded.unknown.total())
            self._skipped.labels(provider).inc(decoded.skipped.total())
            # Counts only: the names come from the person's document.
            _log.info("left out", provider=provider, unknown=decoded.unknown.total(), skipped=decoded.skipped.total())

    async def bury(
        self,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
        *,
        log: str,
        provider: str,
        stage: str,
        error: str,
        attempts: int,
        first_seen: datetime,
        key: bytes | None = None,
    ) -> None:
        """Put a record of the topic `log` into its dead letters with the reason. Raises UnavailableError."""
        added = events.dead_letter_headers(headers, stage=stage, error=error, attempts=attempts, first_seen=first_seen)
        await self._producer.send(dead_letters_of(log), value, key, added)
        self.deliveries.labels(provider, "dead").inc()
        _log.warning("dead letter", provider=provider, stage=stage, reason=error)


class Portion:
    """Events on their way out, sent whenever they have become many; what was sent is counted and let go."""

    def __init__(self, outbox: Outbox) -> None:
        """One for a batch of the log."""
        self._outbox = outbox
        self._records: list[Outgoing] = []
        self._size = 0
        self._counted: list[tuple[str, datetime, Decoded]] = []

    async def add(self, delivery: Delivery, decoded: Decoded, headers: Sequence[tuple[str, bytes]]) -> None:
        """Take in what a delivery held. Raises InvalidRecordError, and then nothing of it is sent, UnavailableError."""
        records = [outgoing(event, headers) for event in decoded.events]
        self._records += records
        self._counted.append((delivery.provider, delivery.received_at, decoded))
        self._size += sum(len(value) for _, value, _ in records)
        if self._size >= FLUSH_BYTES:
            await self.send()

    async def send(self) -> None:
        """Send what is left. Raises UnavailableError."""
        await self._outbox.send(self._records)
        for provider, received_at, decoded in self._counted:
            self._outbox.count(provider, received_at, decoded)
        self._records, self._counted, self._size = [], [], 0


def outgoing(event: Event, headers: Sequence[tuple[str, bytes]]) -> Outgoing:
    """The record of an event, with the trace context of the delivery's headers. Raises InvalidRecordError."""
    faults = events.faults(event)
    if faults:
        raise InvalidRecordError(faults[0])
    value = events.encode(event)
    if len(value) > events.MAX_EVENT_BYTES:
        raise InvalidRecordError("an event is too large")
    made = events.event_headers(event)
    made += [(name, content) for name, content in headers if name == "traceparent"]
    return event.user_id.encode(), value, made
