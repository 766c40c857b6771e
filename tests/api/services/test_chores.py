"""The periodic jobs on real stores: one replica does each, nothing is repeated, what was missed is found."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from auren import events
from auren.bridge.chores.erased import ErasedPeople
from auren.bridge.chores.housekeeping import ExpiredStates, Reencryption
from auren.bridge.chores.ledger import Ledger
from auren.bridge.chores.progress import Due, Progress
from auren.bridge.chores.subscriptions import WANTED, Remembered
from auren.bridge.connect.books import Books
from auren.bridge.connections import Connections
from auren.bridge.tokens import TokenBox, Tokens, TokenStore
from auren.database import Database
from auren.events import Event
from auren.link import UnavailableError
from auren.telemetry import Metrics
from auren.topics import EVENTS
from tests.api.processes import Servers
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.vendor_api import PUBLIC_URL, ROLE, VendorApis, bridge_database, oura_signed, whoop_signed
from tests.api.services.waiting import until
from tests.unit.services.vendor_documents import (
    oura_notice,
    oura_readiness,
    whoop_cycle,
    whoop_notice,
    whoop_recovery,
    whoop_sleep,
)

NOW = datetime.now(UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TABLES = "chores, reconciliations, oura_subscriptions, oauth_tokens, oauth_states, connections"


@pytest.fixture
async def empty(platform: Platform) -> Platform:
    """Nobody is connected and nothing was done yet; no collector of another test does anything."""
    platform.stop_collectors()
    await query(platform, f"TRUNCATE {TABLES}")
    return platform


@pytest.fixture
async def replicas(empty: Platform) -> AsyncIterator[tuple[Database, Database]]:
    """The database as two replicas have it."""
    async with bridge_database(empty) as one, bridge_database(empty) as two:
        yield one, two


# --- the ledger


async def test_a_chore_is_one_replicas_until_its_turn_ends(replicas: tuple[Database, Database]) -> None:
    one, two = (Ledger(database) for database in replicas)
    async with one.turn("test") as mine:
        assert mine is not None
        async with two.turn("test") as theirs, two.turn("other") as another:
            assert theirs is None
            assert another is not None
    async with two.turn("test") as theirs:
        assert theirs is not None
        async with one.turn("test") as mine:
            assert mine is None


async def test_within_one_replica_too(replicas: tuple[Database, Database]) -> None:
    ledger = Ledger(replicas[0])
    for _ in range(10):
        async with ledger.turn("test") as first, ledger.turn("test") as second:
            assert first is not None
            assert second is None


async def test_what_worked_is_known_to_all(replicas: tuple[Database, Database]) -> None:
    one, two = (Ledger(database) for database in replicas)
    async with one.turn("test") as turn:
        assert turn is not None
        assert turn.age_seconds is None
        await turn.done()
    async with two.turn("test") as turn:
        assert turn is not None
        assert turn.age_seconds is not None
        assert 0 <= turn.age_seconds < 60
        await turn.done()


async def test_what_failed_has_not_worked_and_frees_the_lock(replicas: tuple[Database, Database]) -> None:
    one, two = (Ledger(database) for database in replicas)
    for error in (RuntimeError("defect"), TimeoutError("of the work"), asyncio.CancelledError("the end")):
        with pytest.raises(type(error), match=str(error)):
            async with one.turn("test"):
                raise error
        async with two.turn("test") as turn:
            assert turn is not None
            assert turn.age_seconds is None


async def test_no_transaction_is_open_while_a_chore_works(empty: Platform, replicas: tuple[Database, Database]) -> None:
    async with Ledger(replicas[0]).turn("test"):
        (holder,) = await query(
            empty,
            "SELECT state FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND application_name = 'tests' AND pg_locks.database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    assert holder["state"] == "idle"


async def test_the_lock_of_one_who_is_cut_off_is_free_and_nothing_has_worked(
    empty: Platform, replicas: tuple[Database, Database]
) -> None:
    one, two = (Ledger(database) for database in replicas)

    async def free() -> bool:
        async with two.turn("test") as theirs:
            return theirs is not None

    async def cut_off() -> None:
        async with one.turn("test") as mine:
            assert mine is not None
            await query(empty, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            await until(free)
            await mine.done()

    with pytest.raises(UnavailableError):
        await cut_off()
    async with two.turn("test") as turn:
        assert turn is not None
        assert turn.age_seconds is None


# --- tables


async def connected(database: Database, provider: str, user: str) -> None:
    tokens = Tokens("access", "refresh", NOW + HOUR, (), NOW)
    assert await TokenStore(database, TokenBox("k1:" + "aa" * 32)).save(provider, user, tokens)
    await Connections(database).connect(provider, f"of-{user}", user, NOW)


async def test_those_are_due_first_who_have_just_connected_and_then_the_oldest(
    replicas: tuple[Database, Database],
) -> None:
    database = replicas[0]
    progress = Progress(database)
    for user in ("anna", "berta", "carla", "dora"):
        await connected(database, "whoop", user)
    await connected(database, "oura", "emma")
    await progress.save("whoop", "anna", "cycle", NOW - 2 * HOUR)
    await progress.save("whoop", "berta", "cycle", NOW - 3 * HOUR)
    await progress.save("whoop", "carla", "cycle", NOW)
    before = {"cycle": NOW - HOUR, "sleep": NOW - 6 * HOUR}
    await progress.save("whoop", "anna", "sleep", NOW - 2 * HOUR)
    due = [Due("berta", "sleep", None), Due("carla", "sleep", None), Due("dora", "cycle", None)]
    due += [Due("dora", "sleep", None), Due("berta", "cycle", NOW - 3 * HOUR), Due("anna", "cycle", NOW - 2 * HOUR)]
    assert await progress.due("whoop", before, 10) == due
    assert await progress.due("whoop", before, 2) == due[:2]
    assert await progress.count("whoop", before) == len(due)


async def test_progress_never_goes_back(replicas: tuple[Database, Database]) -> None:
    progress = Progress(replicas[0])
    await connected(replicas[0], "whoop", "anna")
    for until_ in (NOW, NOW - HOUR):
        await progress.save("whoop", "anna", "cycle", until_)
    assert await progress.due("whoop", {"cycle": NOW + HOUR}, 10) == [Due("anna", "cycle", NOW)]


async def test_who_has_disconnected_is_not_asked_about(replicas: tuple[Database, Database]) -> None:
    database = replicas[0]
    await connected(database, "whoop", "anna")
    await connected(database, "whoop", "berta")
    await Connections(database).disconnect_user("whoop", "anna", NOW + HOUR)
    assert [due.user_id for due in await Progress(database).due("whoop", {"cycle": NOW}, 10)] == ["berta"]


async def test_progress_goes_with_the_tokens_and_does_not_come_back_without_them(
    empty: Platform, replicas: tuple[Database, Database]
) -> None:
    database = replicas[0]
    progress, tokens = Progress(database), TokenStore(database, TokenBox("k1:" + "aa" * 32))
    await connected(database, "whoop", "anna")
    await progress.save("whoop", "anna", "cycle", NOW)
    await tokens.delete("whoop", "anna")
    await progress.save("whoop", "anna", "cycle", NOW)
    assert await query(empty, "SELECT FROM reconciliations") == []
    await connected(database, "whoop", "anna")
    assert await progress.due("whoop", {"cycle": NOW}, 10) == [Due("anna", "cycle", None)]


async def test_subscriptions_are_remembered(replicas: tuple[Database, Database]) -> None:
    one, two = (Remembered(database) for database in replicas)
    await one.add(["a", "b"])
    await two.add(["b", "c"])
    await two.remove(["a", "unknown"])
    await two.remove([])
    assert await one.all() == {"b", "c"}


async def test_states_that_nobody_came_back_with_are_removed(
    empty: Platform, replicas: tuple[Database, Database]
) -> None:
    statement = "INSERT INTO oauth_states VALUES ($1, 'oura', 'anna', NULL, now() + $2)"
    for name, left in ((b"past", -HOUR), (b"future", HOUR)):
        await query(empty, statement, name, left)
    await ExpiredStates(replicas[0]).run()
    assert [row["state_hash"] for row in await query(empty, "SELECT state_hash FROM oauth_states")] == [b"future"]


async def test_tokens_of_a_former_key_are_encrypted_anew(replicas: tuple[Database, Database]) -> None:
    database = replicas[0]
    await connected(database, "whoop", "anna")
    box = TokenBox("k2:" + "bb" * 32 + "\nk1:" + "aa" * 32)
    metrics = Metrics("collector")
    await Reencryption(TokenStore(database, box), metrics).run()
    assert metrics.registry.get_sample_value("auren_collector_tokens_of_former_keys") == 0
    tokens = await TokenStore(database, TokenBox("k2:" + "bb" * 32)).load("whoop", "anna")
    assert tokens is not None
    assert tokens.access == "access"


class Vendors:
    """Accounts whose vendors answer, or not."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.away = {"whoop"}
        self.asked: list[tuple[str, str]] = []

    async def end_there(self, provider: str, user_id: str) -> tuple[str, ...]:
        self.asked.append((provider, user_id))
        return ("away",) if provider in self.away else ()

    async def end_here(self, provider: str, user_id: str) -> None:
        await self.books.end(provider, user_id, datetime.now(UTC))


async def test_who_was_erased_is_disconnected_and_forgotten_and_nobody_else(
    empty: Platform, replicas: tuple[Database, Database]
) -> None:
    database, gone, other = replicas[0], new_user(), new_user()
    for user in (gone, other):
        await connected(database, "whoop", user)
    await query(empty, "INSERT INTO erased_users (user_id) VALUES ($1)", gone)
    vendors = Vendors(Books(database, TokenBox("k1:" + "aa" * 32)))
    clock = [0.0]
    erase = TokenStore(database, TokenBox("k1:" + "aa" * 32)).erase
    chore = ErasedPeople(database, ("oura", "whoop"), vendors, erase, lambda: clock[0])

    async def known() -> tuple[set[str], set[str]]:
        tables = ("oauth_tokens", "connections WHERE disconnected_at IS NULL")
        tokens, open_ = [{r["user_id"] for r in await query(empty, f"SELECT user_id FROM {t}")} for t in tables]
        return tokens, open_

    for _ in range(2):  # the vendor is away: it is asked once an hour, and what it is told with stays
        await chore.run()
    assert vendors.asked == [("oura", gone), ("whoop", gone)]
    assert await known() == ({gone, other}, {gone, other})
    assert [due.user_id for due in await Progress(database).due("whoop", {"sleep": NOW}, 10)] == [other]
    clock[0] += 3601
    vendors.away = set()
    await chore.run()
    assert await known() == ({other}, {other})
    everybody = "SELECT user_id FROM connections"
    assert {r["user_id"] for r in await query(empty, everybody)} == {gone, other}
    late = datetime.now(UTC) + HOUR
    assert await Connections(database).user_of("whoop", f"of-{gone}", late) == gone  # what still comes is theirs
    await query(empty, "UPDATE connections SET disconnected_at = now() - interval '26 hours' WHERE user_id = $1", gone)
    await chore.run()
    assert {r["user_id"] for r in await query(empty, everybody)} == {gone, other}  # parked before the erasure
    await query(empty, "UPDATE erased_users SET erased_at = now() - interval '26 hours' WHERE user_id = $1", gone)
    await chore.run()
    assert [r["user_id"] for r in await query(empty, everybody)] == [other]


async def test_a_vendor_that_stays_away_keeps_nobody_for_more_than_a_week(
    empty: Platform, replicas: tuple[Database, Database]
) -> None:
    database, gone = replicas[0], new_user()
    await connected(database, "whoop", gone)
    await query(empty, "INSERT INTO erased_users VALUES ($1, now() - interval '8 days')", gone)
    box = TokenBox("k1:" + "aa" * 32)
    await ErasedPeople(database, ("whoop",), Vendors(Books(database, box)), TokenStore(database, box).erase).run()
    assert await query(empty, "SELECT user_id FROM oauth_tokens") == []
    assert await query(empty, "SELECT user_id FROM connections WHERE disconnected_at IS NULL") == []


# --- processes


@dataclass
class Works:
    """The vendors' doubles, and as many processes as a test starts."""

    platform: Platform
    vendors: VendorApis
    environment: dict[str, str] = field(default_factory=lambda: {"AUREN_RECONCILE_ROUND_SECONDS": "1"})

    def launch(self, name: str = "collect", **environment: str) -> Service:
        """A process of the bridge that listens."""
        merged = {**self.vendors.environment, **self.environment, **environment}
        return self.platform.service("auren.bridge", name, user=ROLE, environment=merged)

    def start(self, name: str = "collect", **environment: str) -> Service:
        """The same, once it has all it needs."""
        service = self.launch(name, **environment)
        service.wait_ready()
        return service

    async def person(self, provider: str) -> str:
        """Somebody who has just connected; the vendor calls them `v-…`."""
        user = new_user()
        await self.vendors.connect(self.platform, provider, f"v-{user}", user)
        return user

    async def events(self, user: str, document: str, count: int = 1) -> list[Event]:
        """All events of a document of a person, at least `count`."""
        found: list[Event] = []

        async def there() -> bool:
            records = await self.platform.records(EVENTS, user, 0)
            found[:] = [e for r in records if (e := events.decode(r.value or b"")).document_id == document]
            return len(found) >= count

        await until(there)
        return found

    def subscriptions_asked(self) -> int:
        """How often Oura was asked for the list of subscriptions."""
        return self.vendors.oura.double.requests.count(("GET", "/v2/webhook/subscription"))


@pytest.fixture
def works(empty: Platform) -> Iterator[Works]:
    """Both vendors, on fresh tables."""
    with Servers("chores") as servers, VendorApis(servers.folder / "providers") as vendors:
        empty.servers = servers
        yield Works(empty, vendors)


def metric(service: Service, name: str) -> float | None:
    """A metric of a collector, None while it is not there."""
    found = re.search(rf"^auren_collector_{re.escape(name)} (\S+)$", service.metrics(), re.MULTILINE)
    return float(found[1]) if found else None


def worked(service: Service, chore: str) -> Callable[[], bool]:
    """Whether a collector knows that a chore has worked, there or elsewhere."""
    return lambda: bool(metric(service, f'chore_success_timestamp_seconds{{chore="{chore}"}}'))


def made_at(vendors: VendorApis) -> list[tuple[str, str]]:
    """The kinds of events of which Oura tells the bridge."""
    address = f"{PUBLIC_URL}/webhooks/oura"
    made = vendors.oura.double.subscriptions.made.values()
    return sorted((s["data_type"], s["event_type"]) for s in made if s["callback_url"] == address)


async def test_of_two_collectors_one_subscribes_with_the_challenge_that_serve_answers(works: Works) -> None:
    bridge = works.start("serve")

    async def challenge(address: str, token: str) -> bool:
        async with httpx.AsyncClient() as client:
            path = address.removeprefix(PUBLIC_URL)
            answer = await client.get(bridge.url(path), params={"verification_token": token, "challenge": "word"})
        return answer.status_code == 200 and answer.json() == {"challenge": "word"}

    double = works.vendors.oura.double
    double.subscriptions.challenge = challenge
    foreign = double.subscriptions.add("https://other.example.org/webhooks/oura", "tag", "create")
    collectors = [works.start(), works.start()]
    for collector in collectors:
        collector.server.wait_until(worked(collector, "oura-subscriptions"), "knowing that they are subscribed")
    assert made_at(works.vendors) == sorted(WANTED)
    assert works.subscriptions_asked() == 1
    assert double.requests.count(("POST", "/v2/webhook/subscription")) == len(WANTED)
    for collector in collectors:
        collector.server.stop()
    again = works.start()
    again.server.wait_until(worked(again, "oura-subscriptions"), "knowing that they are subscribed")
    assert works.subscriptions_asked() == 1, "a restart repeats nothing"
    again.server.stop()
    moved = works.start(AUREN_PUBLIC_URL="https://new.example.org", AUREN_OURA_SUBSCRIPTIONS_SECONDS="1")
    double.subscriptions.challenge = None
    moved.server.wait_until(lambda: made_at(works.vendors) == [], "moving the subscriptions")
    moved.server.wait_until(lambda: metric(moved, 'oura_subscriptions{state="active"}') == len(WANTED), "counting")
    assert len(double.subscriptions.made) == len(WANTED) + 1
    assert double.subscriptions.made[foreign]["callback_url"].startswith("https://other.")


async def test_the_lock_of_a_collector_that_is_killed_is_free(works: Works) -> None:
    asked, go_on = threading.Event(), threading.Event()

    async def never(*_: object) -> bool:
        asked.set()
        return await asyncio.to_thread(go_on.wait, 60)

    works.environment["AUREN_OURA_SUBSCRIPTIONS_SECONDS"] = "1"
    double = works.vendors.oura.double
    double.subscriptions.challenge = never
    try:
        holder = works.start()
        assert await asyncio.to_thread(asked.wait, 60)
        other = works.start()
        other.server.wait_until(worked(other, "reconciliation"), "doing the other chores")
        assert works.subscriptions_asked() == 1
        holder.server.kill()
        double.subscriptions.challenge = None
        other.server.wait_until(worked(other, "oura-subscriptions"), "taking over")
    finally:
        go_on.set()
    assert set(made_at(works.vendors)) == set(WANTED)


async def test_a_challenge_that_does_not_reach_the_bridge_is_told(works: Works) -> None:
    async def nobody(*_: object) -> bool:
        return False

    works.vendors.oura.double.subscriptions.challenge = nobody
    # not `start`: it may be unwell before it was seen to be well
    collector = works.launch(AUREN_OURA_SUBSCRIPTIONS_SECONDS="1")

    def told() -> bool:
        return "chores" in {one["name"] for one in collector.health().json().get("missing", ())}

    collector.server.wait_until(told, "telling it")
    (reason,) = [one["reason"] for one in collector.health().json()["missing"] if one["name"] == "chores"]
    assert f"Oura asks {PUBLIC_URL}/webhooks/oura for a challenge" in reason
    assert (metric(collector, 'chore_failures_total{chore="oura-subscriptions"}') or 0) > 1


async def test_a_delivery_that_was_missed_is_found_and_is_not_doubled_when_it_comes(works: Works) -> None:
    user, sleep = await works.person("whoop"), str(uuid.uuid4())
    times = {name: (NOW - age).isoformat() for name, age in (("start", 9 * HOUR), ("end", HOUR), ("updated_at", HOUR))}
    document = whoop_sleep(id=sleep, created_at=times["end"], **times)
    double = works.vendors.whoop.double
    double.lists.documents[user, "/v2/activity/sleep"] = [document]
    collector, bridge = works.start(), works.start("serve")
    (found,) = await works.events(user, f"sleep/{sleep}")
    assert {reading.metric for reading in found.readings} >= {"sleep_total", "respiratory_rate"}
    double.documents[user, f"/v2/activity/sleep/{sleep}"] = document
    notice = whoop_notice(user_id=f"v-{user}", id=sleep, type="sleep.updated")
    bridge.post("/webhooks/whoop", *whoop_signed(notice)).raise_for_status()
    again = await works.events(user, f"sleep/{sleep}", 2)
    assert {(event.event_id, event.version) for event in again} == {(found.event_id, found.version)}
    written = collector.metrics()
    collector.server.stop()
    written += collector.server.log.read_text()
    assert not [private for private in (user, sleep) if private in written]


async def test_a_later_notice_of_oura_overwrites_what_was_found(works: Works) -> None:
    user = await works.person("oura")
    double = works.vendors.oura.double
    document = oura_readiness(day=(NOW - DAY).date().isoformat(), timestamp=(NOW - DAY).isoformat())
    double.lists.documents[user, "/v2/usercollection/daily_readiness"] = [document]
    works.start()
    bridge = works.start("serve")
    (found,) = await works.events(user, "daily_readiness/r-1")
    double.documents[user, "/v2/usercollection/daily_readiness/r-1"] = {**document, "temperature_deviation": 1.5}
    fields: dict[str, Any] = {"data_type": "daily_readiness", "object_id": "r-1", "user_id": f"v-{user}"}
    notice = oura_notice(**fields, event_time=datetime.now(UTC).isoformat())
    bridge.post("/webhooks/oura", *oura_signed(notice)).raise_for_status()
    last = max(await works.events(user, "daily_readiness/r-1", 2), key=lambda event: event.version)
    assert last.version > found.version
    assert [reading.value for reading in last.readings] == [1.5]


async def test_cycles_and_recoveries_arrive_without_any_webhook(works: Works) -> None:
    user, sleep = await works.person("whoop"), str(uuid.uuid4())
    made = {"created_at": (NOW - HOUR).isoformat(), "updated_at": (NOW - HOUR).isoformat()}
    double = works.vendors.whoop.double
    double.lists.documents[user, "/v2/cycle"] = [
        whoop_cycle(id=7, start=(NOW - 9 * HOUR).isoformat(), end=None, **made)
    ]
    double.lists.documents[user, "/v2/recovery"] = [whoop_recovery(sleep_id=sleep, cycle_id=7, **made)]
    works.start()
    (cycle,) = await works.events(user, "cycle/7")
    assert {reading.metric for reading in cycle.readings} >= {"strain"}
    (recovery,) = await works.events(user, f"recovery/{sleep}")
    assert {reading.metric for reading in recovery.readings} >= {"recovery_score", "hrv_rmssd"}

    async def read() -> bool:
        statement = "SELECT FROM reconciliations WHERE user_id = $1 AND until > now() - interval '30 minutes'"
        return len(await query(works.platform, statement, user)) == 4

    await until(read)
    asked = len(double.lists.asked)
    works.start().server.stop()
    assert len(double.lists.asked) == asked, "nobody asks again before it is due"
