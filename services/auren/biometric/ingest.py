"""From `biometric-events` into the database and into Redis; what can never be stored goes to the dead letters.

The consumer commits offsets after `Ingest.handle` has returned, so all of this may happen twice and never not at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from auren.biometric.batch import Accepted, Poison, Row, deletions, read, rows
from auren.biometric.store import Readings, UnstorableError
from auren.events import Headers, dead_letter_headers
from auren.kafka import Producer, Record
from auren.latest import HotValues, LatestValue
from auren.link import UnavailableError
from auren.modes import LARGEST_SKEW
from auren.telemetry import Metrics, logger
from auren.topics import EVENTS_DLQ

STAGE: Final = "biometric.ingest"
MOST_STALE_USERS: Final = 100_000
"""How many people's missed hot values are remembered while Redis is away; beyond it the hour of `latest` heals."""

MOST_BYTES: Final = 2 * 1024 * 1024
"""Records of one transaction together, as JSON; their rows take some fifteen times that in memory."""

_log = logger(__name__)


class Ingest:
    """The consumer's work on one batch of records."""

    def __init__(self, readings: Readings, hot: HotValues, dead_letters: Producer, metrics: Metrics) -> None:
        """All are owned by the service; `metrics` gets what happened."""
        self._readings = readings
        self._hot = hot
        self._dead_letters = dead_letters
        self._stale_users: set[str] = set()
        self._events = metrics.counter("events", "Events by what became of them", ("outcome",))
        self._rows = metrics.counter("rows", "Readings by what became of them", ("outcome",))
        self._missed = metrics.counter("hot_values_missed", "Batches whose hot values Redis did not take")
        self._delay = metrics.histogram("event_to_row_seconds", "From the receipt of a delivery to its rows")

    async def handle(self, records: Sequence[Record]) -> None:
        """Make records durable, then hot. Raises UnavailableError while the database or Kafka is away."""
        for part in parts(records, MOST_BYTES):
            await self._handle(part)

    async def _handle(self, records: Sequence[Record]) -> None:
        accepted, poison = read(records)
        merged, unstorable, touched = await self._store(accepted)
        poison += unstorable
        if poison:
            await self._bury(poison)
        await self._heat(merged, touched)
        self._events.labels("stored").inc(len(accepted) - len(unstorable))

    async def _store(self, accepted: Sequence[Accepted]) -> tuple[list[Row], list[Poison], set[str]]:
        """One transaction; where the database refuses a value, halves until the culprit stands alone.

        Returns the rows, the culprits, and the users of whom something was deleted.
        """
        events = [one.event for one in accepted]
        deleted = deletions(events)
        try:
            stored = await self._readings.store(rows(events, deleted), deleted)
        except UnstorableError as error:
            if len(accepted) == 1:
                return [], [Poison(accepted[0].record, f"the database refuses a value: {error}")], set()
            middle = len(accepted) // 2
            first, second = await self._store(accepted[:middle]), await self._store(accepted[middle:])
            return first[0] + second[0], first[1] + second[1], first[2] | second[2]
        self._rows.labels("merged").inc(len(stored.merged))
        self._rows.labels("kept_out").inc(stored.kept_out)
        now = datetime.now(UTC)
        for event in events:
            self._delay.observe(max(0.0, (now - event.received_at).total_seconds()))
        return stored.merged, [], {document.user_id for document in deleted}

    async def _bury(self, poison: Sequence[Poison]) -> None:
        await self._dead_letters.send_all(EVENTS_DLQ, [_letter(one) for one in poison])
        self._events.labels("poison").inc(len(poison))
        for one in poison:
            _log.warning("event put aside", reason=one.reason, partition=one.record.partition, offset=one.record.offset)

    async def _heat(self, merged: Iterable[Row], touched: set[str]) -> None:
        """Bring Redis up to date. It may be away: the rows are safe, and who was missed is emptied when it is back."""
        values = newest(merged, datetime.now(UTC))
        forget = self._stale_users | touched
        try:
            if forget:
                await self._hot.forget(forget)
            if values:
                await self._hot.put(values)
        except UnavailableError as error:
            if not self._stale_users:
                _log.warning("hot values are missed", reason=error.reason)
            self._missed.inc()
            self._stale_users = set(list(forget | values.keys())[:MOST_STALE_USERS])
        else:
            self._stale_users = set()


def _letter(poison: Poison) -> tuple[bytes | None, bytes, Headers]:
    record = poison.record
    seen = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    headers = dead_letter_headers(record.headers, stage=STAGE, error=poison.reason, attempts=1, first_seen=seen)
    return record.key, record.value or b"", headers


def parts(records: Sequence[Record], most_bytes: int) -> Iterator[Sequence[Record]]:
    """The records in order, in parts of at most `most_bytes`; a larger record stands alone."""
    begin, size = 0, 0
    for index, record in enumerate(records):
        length = len(record.value or b"")
        if index > begin and size + length > most_bytes:
            yield records[begin:index]
            begin, size = index, 0
        size += length
    if begin < len(records):
        yield records[begin:]


def newest(merged: Iterable[Row], now: datetime) -> dict[str, list[LatestValue]]:
    """The newest value per user and metric; values from the future (beyond clocks' skew) do not count."""
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in merged:
        if row.time > now + LARGEST_SKEW:
            continue
        metrics = found[row.user_id]
        known = metrics.get(row.metric)
        if known is None or (row.time, row.version) >= (known.time, known.version):
            metrics[row.metric] = row
    return {user: [row.latest() for row in metrics.values()] for user, metrics in found.items()}
