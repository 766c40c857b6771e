"""From `biometric-events` into the database and into Redis; what can never be stored goes to the dead letters.

The consumer commits offsets after `Ingest.handle` has returned, so all of this may happen twice and never not at all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from auren.biometric.ingest import ledger, sequence
from auren.biometric.ingest.batch import Accepted, Poison, read
from auren.biometric.ingest.judge import Judge
from auren.biometric.ingest.person import People
from auren.biometric.ingest.sequence import Outcome
from auren.database import Database
from auren.events import Event, Headers, dead_letter_headers
from auren.kafka import Producer, Record
from auren.latest import HotValues, LatestValue
from auren.link import UnavailableError
from auren.modes import switches
from auren.outbox import Outbox
from auren.telemetry import Metrics, logger
from auren.topics import EVENTS_DLQ

STAGE: Final = "biometric.ingest"
MOST_STALE_USERS: Final = 100_000
"""How many people's missed hot values are remembered while Redis is away; beyond it the hour of `latest` heals."""

MOST_BYTES: Final = 2 * 1024 * 1024
"""Records of one transaction together, as JSON; their rows take some fifteen times that in memory."""

PARTITIONS_AT_ONCE: Final = 3
"""Transactions beside each other: while two wait for the database, one is computed. Each takes a connection, and while
the ingest catches up readers share the one that is left of four."""

PERMANENT: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError, OverflowError)
"""What a value does that no column can hold, as the server or asyncpg's encoders say it."""

_log = logger(__name__)


class UnstorableError(Exception):
    """The database refuses what the batch holds, and always will."""


class Ingest:
    """The consumer's work on one batch of records."""

    def __init__(
        self, database: Database, hot: HotValues, dead_letters: Producer, outbox: Outbox, judge: Judge, metrics: Metrics
    ) -> None:
        """All are owned by the service; `metrics` gets what happened."""
        self._database = database
        self._hot = hot
        self._dead_letters = dead_letters
        self._outbox = outbox
        self._judge = judge
        self._people = People()
        self._at_once = asyncio.Semaphore(PARTITIONS_AT_ONCE)
        self._heating = asyncio.Lock()
        self._stale_users: set[str] = set()
        self._events = metrics.counter("events", "Events by what became of them", ("outcome",))
        self._rows = metrics.counter("rows", "Readings by what became of them", ("outcome",))
        self._switches = metrics.counter("mode_switches", "Decisions that a person's mode is another one", ("mode",))
        self._missed = metrics.counter("hot_values_missed", "Batches whose hot values Redis did not take")
        self._delay = metrics.histogram("event_to_row_seconds", "From the receipt of a delivery to its rows")

    async def handle(self, records: Sequence[Record]) -> None:
        """Make records durable, then hot. Raises UnavailableError while the database or Kafka is away.

        Partitions are handled beside each other: a person's events are all in one. While the database merges the rows
        of one partition, this process decodes another.
        """
        partitions: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            partitions[record.partition].append(record)
        done = await asyncio.gather(*map(self._partition, partitions.values()), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

    async def _partition(self, records: Sequence[Record]) -> None:
        for part in parts(records, MOST_BYTES):
            async with self._at_once:
                await self._part(part)

    async def _part(self, records: Sequence[Record]) -> None:
        accepted, poison = read(records)
        outcomes, unstorable = await self._store(accepted)
        poison += unstorable
        for outcome in outcomes:
            await self._heat(outcome)
        if poison:
            await self._bury(poison)

    async def _store(self, accepted: Sequence[Accepted]) -> tuple[list[Outcome], list[Poison]]:
        """One transaction; where the database refuses a value, halves until the culprit stands alone."""
        if not accepted:
            return [], []
        try:
            outcome = await self._take_in([one.event for one in accepted])
        except UnstorableError as error:
            if len(accepted) == 1:
                return [], [Poison(accepted[0].record, f"the database refuses a value: {error}")]
            middle = len(accepted) // 2
            first, second = await self._store(accepted[:middle]), await self._store(accepted[middle:])
            return first[0] + second[0], first[1] + second[1]
        self._tell(accepted, outcome)
        return [outcome], []

    async def _take_in(self, events: Sequence[Event]) -> Outcome:
        """Raises UnavailableError for what may work later, UnstorableError for what never will."""
        try:
            async with self._database.connection() as connection, connection.transaction():
                outcome = await ledger.take_in(
                    connection, events, self._people, lambda prior: sequence.run(events, prior, self._judge)
                )
        except asyncpg.UniqueViolationError as error:
            # What memory knows of these people is not what the table holds. Without it each key is looked up.
            self._people.forget({event.user_id for event in events})
            raise UnavailableError("database", type(error).__name__) from error
        except PERMANENT as error:
            raise UnstorableError(type(error).__name__) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("database", type(error).__name__) from error
        self._people.keep(outcome.people.values())
        return outcome

    def _tell(self, accepted: Sequence[Accepted], outcome: Outcome) -> None:
        if outcome.switches:
            self._outbox.wake()
        for switch in outcome.switches:
            self._switches.labels(switch.mode.value).inc()
        for what, count in outcome.events.items():
            self._events.labels(what).inc(count)
        self._rows.labels("merged").inc(len(outcome.stored_rows()))
        self._rows.labels("outdated").inc(outcome.outdated_rows)
        now = datetime.now(UTC)
        for one in accepted:
            self._delay.observe(max(0.0, (now - one.event.received_at).total_seconds()))

    async def _bury(self, poison: Sequence[Poison]) -> None:
        await self._dead_letters.send_all(EVENTS_DLQ, [_letter(one) for one in poison])
        self._events.labels("poison").inc(len(poison))
        for one in poison:
            _log.warning("event put aside", reason=one.reason, partition=one.record.partition, offset=one.record.offset)

    async def _heat(self, outcome: Outcome) -> None:
        """Bring Redis up to date. It may be away: the rows are safe, and who was missed is emptied when it is back."""
        values: dict[str, list[LatestValue]] = defaultdict(list)
        for (user, _), row in outcome.newest.items():
            values[user].append(row.latest())
        async with self._heating:
            forget = self._stale_users | outcome.unsettled
            try:
                if forget:
                    await self._hot.forget(forget)
                if values:
                    await self._hot.put(values)
                if outcome.switches:
                    await self._hot.announce((s.user_id, "mode", switches.encode(s)) for s in outcome.switches)
            except UnavailableError as error:
                if not self._stale_users:
                    _log.warning("hot values are missed", reason=error.reason)
                self._missed.inc()
                missed = forget | values.keys() | {switch.user_id for switch in outcome.switches}
                self._stale_users = set(list(missed)[:MOST_STALE_USERS])
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
