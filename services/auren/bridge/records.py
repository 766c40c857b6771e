"""The records of the two logs as deliveries, and where one goes when it dies.

`biometric-webhooks` is ours, and its headers say what a delivery is. `terra-biometric-events` is written by Terra: its
records have a value and nothing else (docs.tryterra.co, "Queuing services"), so such a record is a delivery of Terra's
from when it was put there. Whatever headers it has are not ours and not believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from auren import events
from auren.bridge.dead_letters import REPLAYED_FROM
from auren.bridge.decoders import terra
from auren.events import Delivery, Headers
from auren.kafka import Record
from auren.topics import TERRA, TERRA_DLQ, WEBHOOKS, WEBHOOKS_DLQ, Topic

LOGS: Final = (WEBHOOKS, TERRA)

FROM_TOPIC: Final = "from-topic"
"""On what is parked of another log than `biometric-webhooks`: where it came from."""

_DEAD_LETTERS: Final[Mapping[str, Topic]] = {WEBHOOKS.name: WEBHOOKS_DLQ, TERRA.name: TERRA_DLQ}


def read(record: Record) -> Delivery:
    """The delivery of a record. Raises InvalidRecordError."""
    if record.topic != TERRA.name:
        return events.delivery(record.value or b"", record.headers)
    return Delivery(
        id=f"{record.topic}/{record.partition}/{record.offset}",
        provider=terra.PROVIDER,
        received_at=min(first_seen(record), _replayed_from(record)),
        body=record.value or b"",
    )


def first_seen(record: Record) -> datetime:
    """When the record was put into its topic, by its producer's clock; a producer without a clock says -1."""
    return datetime.fromtimestamp(max(0, record.timestamp) / 1000, UTC)


def _replayed_from(record: Record) -> datetime:
    """When a dead letter of Terra's that comes again was first there; its pointer has not become any younger."""
    told = dict(record.headers).get("ce_time", b"")
    try:
        time = datetime.fromisoformat(told.decode("ascii", "replace"))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parked_headers(record: Record) -> Headers:
    """The headers under which `events.delivery` reads a record, one that can be read, again later."""
    if record.topic != TERRA.name:
        return [(name, bytes(content or b"")) for name, content in record.headers]
    replayed = [(name, bytes(content or b"")) for name, content in record.headers if name == REPLAYED_FROM]
    return [*read(record).headers(), *replayed, (FROM_TOPIC, record.topic.encode())]


def log_of(headers: Sequence[tuple[str, bytes]]) -> str:
    """The topic from which a parked delivery with these headers came."""
    return dict(headers).get(FROM_TOPIC, WEBHOOKS.name.encode()).decode("ascii", "replace")


def dead_letters_of(log: str) -> Topic:
    """Where what died of a log goes."""
    return _DEAD_LETTERS.get(log, WEBHOOKS_DLQ)
