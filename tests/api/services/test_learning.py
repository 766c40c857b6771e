"""The ingest on real stores: what is learnt does not depend on batches, on memory, on crashes or on who is at work."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import msgspec
import psycopg
import pytest
from pydantic import SecretStr

from auren.biometric.ingest.judge import Judge
from auren.biometric.ingest.worker import Ingest
from auren.biometric.service import OUTBOX
from auren.database import Database
from auren.events import Event, Headers, encode
from auren.kafka import Producer
from auren.latest import HotValues
from auren.link import UnavailableError
from auren.migrations import chain
from auren.modes import DEFAULTS
from auren.modes.switches import decode
from auren.outbox import Letter, Outbox, pack
from auren.settings import DatabaseSettings, KafkaSettings
from auren.telemetry import Metrics
from auren.topics import MODE_SWITCHES, Topic
from tests.api.services.measurements import publish, query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.waiting import until
from tests.unit.services.journeys import journeys

USER = "biometric-production"

TABLES = {
    "readings": "user_id, metric, source, time",
    "deletion_tombstones": "user_id, document_id",
    "daily_values": "user_id, metric, day, source",
    "hourly_values": "user_id, metric, day, hour, source",
    "sleep_sessions": "user_id, document_id",
    "workouts": "user_id, document_id",
    "people": "user_id",
    "mode_switches": "user_id, at, id",
    "patterns": "user_id, kind, detail",
    "ingested_events": "event_id",
}
OTHERWISE = frozenset({"revision", "deleted_at", "seen_at"})
"""Columns that say how and when, not what."""


@dataclass
class FakeRecord:
    """A record as the consumer hands it over."""

    value: bytes | None
    key: bytes | None
    partition: int
    topic: str = "biometric-events"
    offset: int = 0
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = field(default_factory=list)


class NoStore:
    """In place of Redis and Kafka, which are not asked here."""

    async def forget(self, _users: Iterable[str]) -> None: ...

    async def put(self, _values: object) -> None: ...

    async def announce(self, _entries: object) -> None: ...

    def wake(self) -> None: ...


@asynccontextmanager
async def new_database(platform: Platform) -> AsyncIterator[Database]:
    """A database with the tables, and the administrator's connections to it."""
    postgres = platform.postgres
    name = await postgres.create_database()
    await asyncio.to_thread(chain.upgrade, lambda: psycopg.connect(postgres.dsn(name)))
    settings = DatabaseSettings(
        database_host=postgres.host,
        database_port=postgres.port,
        database_name=name,
        database_user=postgres.username,
        database_password=SecretStr(postgres.password),
    )
    database = Database(settings, application="test")
    await database.start()
    await database.link.wait()
    yield database
    await database.stop()
    await postgres.drop_database(name)


def an_ingest(database: Database, redis: NoStore | None = None) -> Ingest:
    """One that remembers nobody."""
    nowhere: Any = NoStore()
    return Ingest(
        database,
        cast(HotValues, redis or nowhere),
        cast(Producer, nowhere),
        cast(Outbox, nowhere),
        Judge(DEFAULTS),
        Metrics("biometric"),
    )


async def take(ingest: Ingest, events: Sequence[Event]) -> None:
    """One batch, in partitions by person."""
    await ingest.handle([FakeRecord(encode(e), e.user_id.encode(), sum(e.user_id.encode()) % 3) for e in events])


async def contents(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All that was learnt, and the rows that it was learnt from."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with database.connection() as connection:
        for table, order in TABLES.items():
            rows = await connection.fetch(f"SELECT * FROM {table} ORDER BY {order}")
            found[table] = [{k: v for k, v in row.items() if k not in OTHERWISE} for row in rows]
    return found


def pieces(events: Sequence[Event], most: int, seed: int = 2) -> list[Sequence[Event]]:
    """The events in batches of a random size."""
    chance, found, begin = random.Random(seed), [], 0
    while begin < len(events):
        end = begin + chance.randint(1, most)
        found.append(events[begin:end])
        begin = end
    return found


async def test_who_is_loaded_from_the_tables_is_who_was_remembered(platform: Platform) -> None:
    events = journeys(["anna", "ben"], 36)
    async with new_database(platform) as remembered, new_database(platform) as forgotten:
        ingest = an_ingest(remembered)
        for batch in pieces(events, 200):
            await take(ingest, batch)
        for batch in pieces(events, 9):
            await take(an_ingest(forgotten), batch)
        one, other = await contents(remembered), await contents(forgotten)
        assert {table: len(rows) for table, rows in one.items() if not rows} == {}
        for table in TABLES:
            assert other[table] == one[table], table


async def test_a_replay_adds_nothing_and_fills_an_empty_database_alike(platform: Platform) -> None:
    events = journeys(["anna", "ben"], 20, seed=5)
    async with new_database(platform) as full, new_database(platform) as empty:
        ingest = an_ingest(full)
        for batch in pieces(events, 60):
            await take(ingest, batch)
        before = await contents(full)
        for batch in pieces(events, 30, seed=9):
            await take(an_ingest(full), batch)
        await take(ingest, events[:100])
        assert await contents(full) == before
        await take(an_ingest(empty), events)
        assert await contents(empty) == before


async def test_days_are_those_of_the_rows(platform: Platform) -> None:
    async with new_database(platform) as database:
        await take(an_ingest(database), journeys(["anna"], 30, seed=7))
        async with database.connection() as connection:
            wrong = await connection.fetch(
                """
                SELECT * FROM (
                    SELECT user_id, metric, source, count(*) AS count, sum(round(value::numeric * 1000000)) AS total,
                           ((coalesce(end_time - INTERVAL '1 microsecond', time) AT TIME ZONE 'UTC')
                            + make_interval(mins => utc_offset_minutes))::date AS day
                    FROM readings WHERE flags IS NULL OR NOT flags && ARRAY['implausible', 'future', 'late']
                    GROUP BY user_id, metric, source, day
                ) AS expected FULL JOIN daily_values d USING (user_id, metric, source, day)
                WHERE expected.count IS DISTINCT FROM d.count OR expected.total IS DISTINCT FROM d.total
                """
            )
    assert wrong == []


async def test_somebody_who_was_erased_leaves_no_row_of_any_kind(platform: Platform) -> None:
    events = journeys(["anna", "ben"], 4)
    async with new_database(platform) as database:
        async with database.connection() as connection:
            await connection.execute("INSERT INTO erased_users (user_id) VALUES ('anna')")
        await take(an_ingest(database), events)
        found = await contents(database)
    assert {row["user_id"] for rows in found.values() for row in rows} == {"ben"}


async def test_a_taken_key_that_memory_does_not_know_of_is_found_the_second_time(platform: Platform) -> None:
    """Another writer has put rows there behind this process' back: no event is lost, and none is called poison."""
    first, second, *_ = [event for event in journeys(["anna"], 1) if event.document_id.startswith("pulse")]
    async with new_database(platform) as database:
        ingest = an_ingest(database)
        await take(ingest, [first])
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO readings SELECT $1, user_id, metric, source, 1, end_time, flags, provider, 'other', 1,"
                " event_id, received_at FROM readings LIMIT 1",
                second.readings[0].time,
            )
        with pytest.raises(Exception, match="UniqueViolation"):
            await take(ingest, [second])
        await take(ingest, [second])
        rows = (await contents(database))["readings"]
    assert Counter(row["document_id"] for row in rows)[second.document_id] == len(second.readings)


async def test_a_document_that_replaced_rows_and_is_deleted_takes_them_with_it_in_one_batch_too(
    platform: Platform,
) -> None:
    first = next(event for event in journeys(["anna"], 1) if event.document_id.startswith("pulse"))
    other = msgspec.structs.replace(first, event_id=uuid.uuid4(), document_id="other")
    deletion = msgspec.structs.replace(other, event_id=uuid.uuid4(), kind="deletion", readings=())
    async with new_database(platform) as whole, new_database(platform) as single:
        ingest = an_ingest(whole)
        await take(ingest, [first])
        await take(ingest, [other, deletion])
        for event in (first, other, deletion):
            await take(an_ingest(single), [event])
        one, other_way = await contents(whole), await contents(single)
    assert one == other_way
    assert one["readings"] == []


async def test_people_from_before_an_upgrade_are_known_from_their_days(platform: Platform) -> None:
    """Their days were summed up by the migration; nothing else was kept of them."""
    events = journeys(["anna"], 20, seed=5)
    async with new_database(platform) as database:
        await take(an_ingest(database), events[:-40])
        async with database.connection() as connection:
            await connection.execute("DELETE FROM people")
        ingest = an_ingest(database)
        await take(ingest, events[-40:])
        anna = ingest._people.at("anna", 1)
    assert anna is not None
    assert len(anna.days["hrv_rmssd"]) > 14
    assert anna.hours


class Remembering(NoStore):
    """Redis, as far as whom it was told to forget."""

    def __init__(self) -> None:
        self.forgotten: set[str] = set()

    async def forget(self, _users: Iterable[str]) -> None:
        self.forgotten |= set(_users)


async def test_what_comes_again_after_a_crash_brings_redis_up_to_date(platform: Platform) -> None:
    events = [event for event in journeys(["anna"], 1) if event.document_id.startswith("pulse")][:9]
    redis: Any = Remembering()
    async with new_database(platform) as database:
        await take(an_ingest(database), events[:5])
        ingest = an_ingest(database, redis)
        await take(ingest, events[5:])
        assert not redis.forgotten
        await take(ingest, events[:5])
    assert redis.forgotten == {"anna"}


# With everything around it


async def switches_in_topic(platform: Platform, user: str, least: int) -> list[str]:
    """Ids of the switches of a person in `neuros-mode-switches`, in order."""
    found = await platform.records(MODE_SWITCHES, user, least)
    assert all(dict(record.headers)["ce_id"].decode() == str(decode(record.value or b"").switch_id) for record in found)
    return [str(decode(record.value or b"").switch_id) for record in found]


async def of_users(platform: Platform, users: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What the platform's database has learnt of these people."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table, order in TABLES.items():
        rows = await query(platform, f"SELECT * FROM {table} WHERE user_id = ANY($1) ORDER BY {order}", list(users))
        found[table] = [{k: v for k, v in row.items() if k not in OTHERWISE} for row in rows]
    return found


async def ingested(platform: Platform, events: Sequence[Event], seconds: float = 120) -> None:
    """Wait until all of these events have been taken in and told of."""
    ids = list({event.event_id for event in events})

    async def all_there() -> bool:
        (row,) = await query(platform, "SELECT count(*) FROM ingested_events WHERE event_id = ANY($1)", ids)
        (rest,) = await query(platform, "SELECT count(*) FROM outbox")
        return bool(row["count"] == len(ids) and rest["count"] == 0)

    await until(all_there, seconds)


async def expected(platform: Platform, events: Sequence[Event]) -> dict[str, list[dict[str, Any]]]:
    """What one undisturbed ingest makes of the events."""
    async with new_database(platform) as database:
        await take(an_ingest(database), events)
        return await contents(database)


async def test_killed_at_any_moment_it_learns_the_same_and_tells_each_decision_once(platform: Platform) -> None:
    users = [new_user() for _ in range(6)]
    events = journeys(users, 24, seed=3)
    chance = random.Random(11)
    service = platform.service("auren.biometric", user=USER)
    for batch in pieces(events, 260, seed=4):
        await publish(platform, batch)
        await asyncio.sleep(chance.uniform(0.1, 1.5))
        service.server.kill()
        service.server.start()
    await ingested(platform, events)
    found = await of_users(platform, users)
    wanted = await expected(platform, events)
    for table in TABLES:
        assert found[table] == wanted[table], table
    decided = Counter(str(row["id"]) for row in found["mode_switches"])
    told = Counter([s for user in users for s in await switches_in_topic(platform, user, 1)])
    assert len(decided) > 20
    assert told == decided


async def test_replicas_that_come_and_go_share_the_work_and_lose_nothing(platform: Platform) -> None:
    users = [new_user() for _ in range(6)]
    events = journeys(users, 12, seed=8)
    first = platform.service("auren.biometric", user=USER)
    first.wait_ready()
    others: list[Service] = []
    for number, batch in enumerate(pieces(events, 120, seed=6)):
        await publish(platform, batch)
        if number % 3 == 0:
            others.append(platform.service("auren.biometric", user=USER))
        elif others:
            others.pop().server.stop()
    await ingested(platform, events)
    found, wanted = await of_users(platform, users), await expected(platform, events)
    for table in TABLES:
        assert found[table] == wanted[table], table
    told = Counter([s for user in users for s in await switches_in_topic(platform, user, 1)])
    assert told == Counter(str(row["id"]) for row in found["mode_switches"])


def kafka_settings(platform: Platform) -> KafkaSettings:
    kafka = platform.kafka
    return KafkaSettings(
        kafka_bootstrap=kafka.bootstrap,
        kafka_mechanism="PLAIN",
        kafka_username=kafka.admin_username,
        kafka_password=SecretStr(kafka.admin_password),
    )


async def test_of_what_may_have_been_sent_only_what_kafka_lacks_is_sent(platform: Platform) -> None:
    """A process died after it had marked two rows: one of the records had reached Kafka."""
    user = new_user()
    settings = kafka_settings(platform)
    producer = Producer(settings, "test")
    await producer.start()
    await producer.link.wait()
    headers: list[Headers] = [[("ce_id", uuid.uuid4().hex.encode())] for _ in range(3)]
    async with new_database(platform) as database:
        outbox = Outbox(settings, database, producer, Metrics("biometric"), OUTBOX)
        async with database.connection() as connection:
            for number, ago in enumerate((timedelta(minutes=1), timedelta(), None)):
                await connection.execute(
                    "INSERT INTO outbox (topic, user_id, value, headers, attempted_at)"
                    " VALUES ($1, $2, $3, $4, now() - $5::interval)",
                    MODE_SWITCHES.name,
                    user,
                    str(number).encode(),
                    pack(headers[number]),
                    ago,
                )
            await producer.send(MODE_SWITCHES, b"0", user.encode(), headers[0])
            assert await outbox.send() == 0  # the second row may still be on its way
            await connection.execute("UPDATE outbox SET attempted_at = now() - interval '1 minute' WHERE value = '1'")
        assert await outbox.send() == 3
        assert await outbox.send() == 0
    await producer.stop()
    found = await platform.records(MODE_SWITCHES, user, 3)
    assert [record.value for record in found] == [b"0", b"1", b"2"]


async def test_what_kafka_turned_out_to_have_is_forgotten_at_once(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later attempt at the others must not hide when it was sent: it would be looked for too late in the topic."""
    user = new_user()
    async with new_database(platform) as database:
        outbox = Outbox(kafka_settings(platform), database, Refusing(), Metrics("biometric"), OUTBOX)
        monkeypatch.setattr(outbox, "_there", found_first)
        async with database.connection() as connection:
            await connection.executemany(
                "INSERT INTO outbox (topic, user_id, value, headers, attempted_at)"
                " VALUES ($1, $2, $3, $4, now() - interval '1 minute')",
                [(MODE_SWITCHES.name, user, value, pack([("ce_id", b"x")])) for value in (b"there", b"lost")],
            )
            with pytest.raises(UnavailableError):
                await outbox.send()
            left = await connection.fetch("SELECT value FROM outbox")
    assert [row["value"] for row in left] == [b"lost"]


class Refusing(Producer):
    """Kafka is away."""

    def __init__(self) -> None: ...

    async def send_all(self, topic: Topic, records: Iterable[tuple[bytes | None, bytes, Headers]]) -> None:
        raise UnavailableError("kafka", "away")


async def found_first(letters: Sequence[Letter]) -> set[int]:
    return {letters[0].id}


async def test_a_state_of_another_version_is_begun_anew_and_nothing_is_called_poison(platform: Platform) -> None:
    events = journeys(["anna"], 4)
    async with new_database(platform) as database:
        await take(an_ingest(database), events[:20])
        async with database.connection() as connection:
            await connection.execute('UPDATE people SET state = \'{"offset_minutes": "two"}\'')
        await take(an_ingest(database), events[20:])
        found = await contents(database)
    assert len(found["ingested_events"]) == len({event.event_id for event in events})
