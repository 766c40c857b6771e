"""The bridge's tables on a real server, as the bridge's role, from two replicas at once."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from auren.bridge.connections import Connections, InvalidIdError, Subject, TakenError
from auren.bridge.parking import LEASE, Census, Parked, Parking, PutOff, Waiting
from auren.bridge.tokens import (
    HELD_AT_ONCE,
    DamagedError,
    NoTokensError,
    Rotation,
    TokenBox,
    Tokens,
    TokenStore,
    UnknownKeyError,
)
from auren.database import Database
from auren.link import UnavailableError
from auren.migrations.job import MigrationSettings, run
from auren.migrations.roles import ROLES
from auren.settings import DatabaseSettings
from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.waiting import until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD_KEY, NEW_KEY = "old:" + "aa" * 32, "new:" + "bb" * 32
ROLE = "biometric_bridge"
POOL = 4


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@dataclass
class Bench:
    """A prepared server and two replicas of the bridge on it."""

    postgres: stores.Postgres
    name: str
    one: Database
    two: Database

    async def sql(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """A statement of the administrator's."""
        connection = await asyncpg.connect(self.postgres.dsn(self.name))
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        finally:
            await connection.close()
        return rows

    async def somebody_waits_for_a_lock(self) -> bool:
        """Whether a session of the bridge waits for another."""
        return bool(
            await self.sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = $1", ROLE)
        )

    async def cut(self) -> None:
        """End every session of the bridge that is in a transaction."""
        await self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND state LIKE 'idle in%'", ROLE
        )


@pytest.fixture(scope="module")
def server() -> Iterator[stores.Postgres]:
    """A server of its own: roles belong to a server as a whole, and so do their passwords."""
    with Servers("bridge-tables") as servers:
        yield stores.start_postgres(servers)


@pytest.fixture(scope="module")
async def prepared(server: stores.Postgres) -> DatabaseSettings:
    """A database that the Job has prepared, as the bridge reaches it."""
    passwords = {f"role_password_{role}": SecretStr(secrets.token_urlsafe(16)) for role in ROLES}
    access = {
        "database_host": server.host,
        "database_port": server.port,
        "database_name": await server.create_database(),
    }
    job = MigrationSettings.model_validate(
        {
            **access,
            **passwords,
            "database_user": server.username,
            "database_password": SecretStr(server.password),
        }
    )
    await asyncio.to_thread(run, job)
    return DatabaseSettings.model_validate(
        {
            **access,
            "database_user": ROLE,
            "database_password": passwords[f"role_password_{ROLE}"],
            "database_pool_size": POOL,
        }
    )


@asynccontextmanager
async def replica(settings: DatabaseSettings) -> AsyncIterator[Database]:
    database = Database(settings, application="bridge")
    await database.start()
    try:
        await database.link.wait()
        yield database
    finally:
        await database.stop()


@pytest.fixture
async def bench(server: stores.Postgres, prepared: DatabaseSettings) -> AsyncIterator[Bench]:
    """Empty tables and two replicas."""
    async with replica(prepared) as one, replica(prepared) as two:
        bench = Bench(server, prepared.database_name, one, two)
        await bench.sql(
            "TRUNCATE connections, oauth_tokens, oauth_states, parked_deliveries, erased_users, reconciliations"
        )
        yield bench


@pytest.fixture
def connections(bench: Bench) -> Connections:
    """Of one replica."""
    return Connections(bench.one)


# --- connections


async def test_a_connected_id_finds_its_user(connections: Connections) -> None:
    assert await connections.user_of("oura", "o-1", at(0)) is None
    assert await connections.connect("oura", "o-1", "anna", at(0))
    assert await connections.user_of("oura", "o-1", at(0)) == "anna"
    assert await connections.user_of("whoop", "o-1", at(0)) is None


async def test_many_are_found_at_once(connections: Connections) -> None:
    await connections.connect("oura", "o-1", "anna", at(0))
    await connections.connect("whoop", "17", "ben", at(0))
    asked = [Subject("whoop", "17", at(1)), Subject("oura", "o-1", at(2)), Subject("oura", "o-2", at(3))]
    assert await connections.users_of([*asked, asked[0]]) == {asked[0]: "ben", asked[1]: "anna"}
    assert await connections.users_of([]) == {}


async def test_a_delivery_that_came_before_the_connection_belongs_to_it(connections: Connections) -> None:
    await connections.connect("oura", "o-1", "anna", at(0))
    assert await connections.user_of("oura", "o-1", at(-60)) == "anna"


async def test_what_came_before_the_disconnection_still_belongs_to_the_user(connections: Connections) -> None:
    await connections.connect("oura", "o-1", "anna", at(0))
    assert await connections.disconnect("oura", "o-1", at(10)) == "anna"
    assert await connections.disconnect("oura", "o-1", at(11)) is None
    assert await connections.user_of("oura", "o-1", at(9)) == "anna"
    assert await connections.user_of("oura", "o-1", at(10.5)) is None


async def test_older_changes_that_come_again_change_nothing(connections: Connections) -> None:
    await connections.connect("terra", "t-1", "anna", at(0))
    await connections.disconnect("terra", "t-1", at(10))
    assert not await connections.connect("terra", "t-1", "anna", at(0))
    assert await connections.user_of("terra", "t-1", at(20)) is None
    assert await connections.connect("terra", "t-1", "anna", at(30))
    assert await connections.disconnect("terra", "t-1", at(10)) is None
    assert await connections.user_of("terra", "t-1", at(40)) == "anna"


async def test_an_older_connect_that_comes_again_does_not_let_an_old_disconnect_pass(connections: Connections) -> None:
    await connections.connect("terra", "t-1", "anna", at(30))
    assert await connections.connect("terra", "t-1", "anna", at(0))
    assert await connections.disconnect("terra", "t-1", at(10)) is None


async def test_an_id_is_one_users_until_they_disconnect(connections: Connections) -> None:
    await connections.connect("whoop", "17", "anna", at(0))
    with pytest.raises(TakenError):
        await connections.connect("whoop", "17", "ben", at(5))
    assert await connections.user_of("whoop", "17", at(6)) == "anna"
    await connections.disconnect("whoop", "17", at(10))
    assert await connections.connect("whoop", "17", "ben", at(20))
    assert await connections.user_of("whoop", "17", at(21)) == "ben"
    assert await connections.user_of("whoop", "17", at(9)) is None, "anna's, not ben's"
    assert await connections.connect("whoop", "17", "ben", at(30))
    assert await connections.user_of("whoop", "17", at(9)) is None, "still not ben's"


async def test_of_two_users_at_once_one_gets_the_id(bench: Bench) -> None:
    replicas = Connections(bench.one), Connections(bench.two)
    for round_number in range(20):
        wanted = [replicas[n % 2].connect("whoop", f"id-{round_number}", f"user-{n}", at(0)) for n in range(4)]
        results = await asyncio.gather(*wanted, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["TakenError"] * 3 + ["bool"]


async def test_a_user_may_have_several_ids_and_leaves_with_all(connections: Connections) -> None:
    for provider, vendor_id in (("terra", "t-1"), ("terra", "t-2"), ("oura", "o-1")):
        await connections.connect(provider, vendor_id, "anna", at(0))
    await connections.connect("terra", "t-3", "ben", at(0))
    assert await connections.disconnect_user("terra", "anna", at(1)) == ["t-1", "t-2"]
    assert await connections.disconnect_user("terra", "anna", at(1)) == []
    assert await connections.user_of("oura", "o-1", at(2)) == "anna"
    assert await connections.user_of("terra", "t-3", at(2)) == "ben"


async def test_a_new_name_of_the_vendors(connections: Connections) -> None:
    await connections.connect("terra", "t-1", "anna", at(0))
    for _ in range(2):
        assert await connections.rename("terra", "t-1", "t-2", at(10)) == "anna"
        assert await connections.user_of("terra", "t-1", at(9)) == "anna"
        assert await connections.user_of("terra", "t-1", at(11)) is None
        assert await connections.user_of("terra", "t-2", at(11)) == "anna"


async def test_a_new_name_connects_again(connections: Connections) -> None:
    await connections.connect("terra", "t-1", "anna", at(0))
    await connections.disconnect("terra", "t-1", at(5))
    assert await connections.rename("terra", "t-1", "t-2", at(10)) == "anna"
    assert await connections.user_of("terra", "t-2", at(11)) == "anna"
    assert await connections.user_of("terra", "t-1", at(7)) is None


async def test_a_new_name_that_is_none_or_old_or_unknown(connections: Connections) -> None:
    await connections.connect("terra", "t-1", "anna", at(0))
    assert await connections.rename("terra", "t-1", "t-1", at(10)) == "anna"
    assert await connections.user_of("terra", "t-1", at(11)) == "anna"
    assert await connections.rename("terra", "t-1", "t-2", at(5)) is None
    assert await connections.rename("terra", "t-8", "t-9", at(20)) is None
    assert await connections.user_of("terra", "t-2", at(21)) is None
    assert await connections.user_of("terra", "t-9", at(21)) is None


async def test_a_new_name_that_is_somebody_elses_leaves_all_as_it_was(connections: Connections) -> None:
    await connections.connect("terra", "t-1", "anna", at(0))
    await connections.connect("terra", "t-2", "ben", at(0))
    with pytest.raises(TakenError):
        await connections.rename("terra", "t-1", "t-2", at(10))
    assert await connections.user_of("terra", "t-1", at(11)) == "anna"
    assert await connections.user_of("terra", "t-2", at(11)) == "ben"


async def test_an_erased_user_does_not_come_back_with_an_old_message(bench: Bench, connections: Connections) -> None:
    await connections.connect("terra", "t-1", "anna", at(0))
    await connections.connect("terra", "t-2", "ben", at(0))
    await bench.sql("INSERT INTO erased_users VALUES ('anna', $1)", at(10))
    await connections.erase("anna")
    await connections.erase("anna")
    assert not await connections.connect("terra", "t-1", "anna", at(5))
    assert [row["user_id"] for row in await bench.sql("SELECT user_id FROM connections")] == ["ben"]
    assert await connections.connect("terra", "t-1", "anna", at(20))


@pytest.mark.parametrize("impossible", ["", "a\0b", "\ud800", "x" * 257])
async def test_ids_that_no_column_holds_are_nobodys(connections: Connections, impossible: str) -> None:
    await connections.connect("oura", "o-1", "anna", at(0))
    known = Subject("oura", "o-1", at(0))
    assert await connections.users_of([Subject("oura", impossible, at(0)), known]) == {known: "anna"}
    assert await connections.disconnect("oura", impossible, at(0)) is None
    with pytest.raises(InvalidIdError):
        await connections.connect("oura", impossible, "anna", at(0))
    with pytest.raises(InvalidIdError):
        await connections.connect("oura", "o-2", impossible, at(0))
    with pytest.raises(InvalidIdError):
        await connections.rename("oura", "o-1", impossible, at(0))


# --- tokens


def tokens(access: str, minutes: float = 0, refresh: str | None = "refresh") -> Tokens:
    return Tokens(access, refresh, at(minutes + 60), ("read:sleep", "offline"), at(minutes))


@pytest.fixture
def replicas(bench: Bench) -> tuple[TokenStore, TokenStore]:
    """The store as two replicas have it."""
    return TokenStore(bench.one, TokenBox(OLD_KEY)), TokenStore(bench.two, TokenBox(OLD_KEY))


@pytest.fixture
def store(replicas: tuple[TokenStore, TokenStore]) -> TokenStore:
    """Of one replica."""
    return replicas[0]


async def test_tokens_are_kept_and_replaced_and_removed(replicas: tuple[TokenStore, TokenStore]) -> None:
    one, two = replicas
    assert await one.load("whoop", "anna") is None
    assert await one.save("whoop", "anna", tokens("first"))
    assert await two.load("whoop", "anna") == tokens("first")
    without = Tokens("second", None, None, (), at(1))
    assert await two.save("whoop", "anna", without)
    assert await one.load("whoop", "anna") == without
    assert await one.load("oura", "anna") is None
    for _ in range(2):
        await one.delete("whoop", "anna")
    assert await two.load("whoop", "anna") is None


async def test_the_table_shows_no_token_and_a_moved_one_does_not_open(bench: Bench, store: TokenStore) -> None:
    await store.save("whoop", "anna", tokens("of-anna"))
    await store.save("whoop", "ben", tokens("of-ben"))
    (row,) = await bench.sql("SELECT access_token || refresh_token AS both FROM oauth_tokens WHERE user_id = 'anna'")
    assert b"of-anna" not in row["both"]
    assert b"refresh" not in row["both"]
    await bench.sql(
        "UPDATE oauth_tokens SET access_token = (SELECT access_token FROM oauth_tokens WHERE user_id = 'anna')"
        " WHERE user_id = 'ben'"
    )
    with pytest.raises(DamagedError):
        await store.load("whoop", "ben")
    with pytest.raises(UnknownKeyError):
        await TokenStore(bench.one, TokenBox(NEW_KEY)).load("whoop", "anna")


async def test_of_two_replicas_one_refreshes_and_the_other_sees_it(
    bench: Bench, replicas: tuple[TokenStore, TokenStore]
) -> None:
    await replicas[0].save("whoop", "anna", tokens("stale"))
    asked: list[Tokens] = []

    async def ask_the_vendor(old: Tokens) -> Tokens:
        asked.append(old)
        # The other replica is there too, and cannot go on.
        await until(bench.somebody_waits_for_a_lock, 20)
        return tokens(f"fresh-{len(asked)}", 60, f"rotated-{len(asked)}")

    async def refreshed(store: TokenStore) -> Tokens:
        stale = await store.load("whoop", "anna")
        assert stale is not None
        async with store.locked("whoop", "anna") as locked:
            if locked.tokens.access == stale.access:
                await locked.save(await ask_the_vendor(locked.tokens))
            return locked.tokens

    results = await asyncio.gather(*map(refreshed, replicas))
    assert asked == [tokens("stale")]
    assert results == [tokens("fresh-1", 60, "rotated-1")] * 2


async def test_many_users_are_locked_without_taking_the_whole_pool(bench: Bench, store: TokenStore) -> None:
    users = [f"user-{n}" for n in range(2 * POOL)]
    for user in users:
        await store.save("whoop", user, tokens(user))
    inside: list[str] = []
    go_on = asyncio.Event()

    async def refresh(user: str) -> None:
        async with store.locked("whoop", user) as locked:
            inside.append(user)
            await go_on.wait()
            await locked.save(tokens(f"new-{user}"))

    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(refresh(user))

        async def full() -> bool:
            return len(inside) >= HELD_AT_ONCE

        await until(full, 20)
        loaded = await asyncio.gather(*(store.load("whoop", user) for user in users))
        assert [found.access for found in loaded if found] == users
        assert len(inside) == HELD_AT_ONCE
        go_on.set()
    for user in users:
        assert await store.load("whoop", user) == tokens(f"new-{user}")


@pytest.mark.parametrize("error", [RuntimeError, TimeoutError, OSError, asyncio.CancelledError])
async def test_what_was_saved_stays_when_the_block_fails(store: TokenStore, error: type[BaseException]) -> None:
    await store.save("whoop", "anna", tokens("stale"))

    async def refresh() -> None:
        async with store.locked("whoop", "anna") as locked:
            await locked.save(tokens("fresh"))
            raise error("the vendor's")

    with pytest.raises(error, match="the vendor's"):
        await refresh()
    assert await store.load("whoop", "anna") == tokens("fresh")


async def test_a_connection_that_breaks_in_the_block_changes_nothing(bench: Bench, store: TokenStore) -> None:
    await store.save("whoop", "anna", tokens("stale"))

    async def cut_before_save() -> None:
        async with store.locked("whoop", "anna") as locked:
            await bench.cut()
            await locked.save(tokens("fresh"))

    async def cut_before_commit() -> None:
        async with store.locked("whoop", "anna") as locked:
            await locked.save(tokens("fresh"))
            await bench.cut()

    for refresh in (cut_before_save, cut_before_commit):
        with pytest.raises(UnavailableError, match="database"):
            await refresh()
    assert await store.load("whoop", "anna") == tokens("stale")
    async with store.locked("whoop", "anna") as locked:
        assert locked.tokens == tokens("stale")


async def test_a_lock_that_is_kept_too_long_is_unavailable(
    replicas: tuple[TokenStore, TokenStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auren.bridge.tokens.LOCK_TIMEOUT_SECONDS", 0.2)
    await replicas[0].save("whoop", "anna", tokens("stale"))
    async with replicas[0].locked("whoop", "anna"):
        with pytest.raises(UnavailableError, match="database"):
            async with replicas[1].locked("whoop", "anna"):
                raise AssertionError("both have it")


async def test_without_tokens_there_is_nothing_to_lock(store: TokenStore) -> None:
    with pytest.raises(NoTokensError):
        async with store.locked("whoop", "anna"):
            raise AssertionError("there are none")
    await store.save("whoop", "anna", tokens("refused"))
    async with store.locked("whoop", "anna") as locked:
        await locked.delete()
    assert await store.load("whoop", "anna") is None


async def test_an_erased_user_has_no_tokens_and_no_login_under_way(bench: Bench, store: TokenStore) -> None:
    for user in ("anna", "ben"):
        await store.save("whoop", user, tokens(user))
        await bench.sql(
            "INSERT INTO oauth_states (state_hash, provider, user_id, expires_at) VALUES ($1, 'whoop', $2, now())",
            user.encode(),
            user,
        )
    await bench.sql("INSERT INTO erased_users VALUES ('anna', $1)", at(10))
    await store.erase("anna")
    assert not await store.save("whoop", "anna", tokens("late", 5))
    for table in ("oauth_tokens", "oauth_states"):
        assert [row["user_id"] for row in await bench.sql(f"SELECT user_id FROM {table}")] == ["ben"]
    assert await store.save("whoop", "anna", tokens("new", 20))


async def test_tokens_are_replaced_only_while_they_are_the_same(store: TokenStore) -> None:
    first, second, third = tokens("first"), tokens("second", 1), tokens("third", 2)
    assert not await store.replace("whoop", "anna", first, second)
    assert await store.load("whoop", "anna") is None
    await store.save("whoop", "anna", first)
    assert await store.replace("whoop", "anna", first, second)
    assert not await store.replace("whoop", "anna", first, third)
    assert not await store.replace("oura", "anna", second, third)
    assert await store.load("whoop", "anna") == second


async def test_a_refresh_does_not_bring_back_what_is_erased_meanwhile(
    bench: Bench, replicas: tuple[TokenStore, TokenStore]
) -> None:
    await replicas[0].save("whoop", "anna", tokens("stale"))
    async with replicas[0].locked("whoop", "anna") as locked:
        erasure = asyncio.create_task(replicas[1].erase("anna"))
        await until(bench.somebody_waits_for_a_lock, 20)
        await locked.save(tokens("fresh"))
    await erasure
    assert await replicas[0].load("whoop", "anna") is None


async def test_a_new_key_takes_over(bench: Bench, store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auren.bridge.tokens.ROWS_AT_ONCE", 3)
    for n in range(10):
        await store.save("oura" if n % 2 else "whoop", f"user-{n}", tokens(f"of-{n}", refresh=None if n == 4 else "r"))
    both = TokenStore(bench.two, TokenBox(f"{NEW_KEY}\n{OLD_KEY}"))
    await both.save("oura", "carl", tokens("of-carl"))
    assert await both.reencrypt_all() == Rotation(reencrypted=10, unreadable=0, left=0)
    assert await both.reencrypt_all() == Rotation(0, 0, 0)
    alone = TokenStore(bench.one, TokenBox(NEW_KEY))
    for n in range(10):
        found = await alone.load("oura" if n % 2 else "whoop", f"user-{n}")
        assert found == tokens(f"of-{n}", refresh=None if n == 4 else "r")
    with pytest.raises(UnknownKeyError):
        await store.load("whoop", "user-0")


async def test_a_row_whose_second_column_is_old_is_encrypted_again_too(bench: Bench, store: TokenStore) -> None:
    await store.save("whoop", "anna", tokens("access"))
    box = TokenBox(f"{NEW_KEY}\n{OLD_KEY}")
    await bench.sql("UPDATE oauth_tokens SET access_token = $1", box.encrypt("access", "whoop", "anna", "access"))
    assert await TokenStore(bench.one, box).reencrypt_all() == Rotation(1, 0, 0)
    assert await TokenStore(bench.one, TokenBox(NEW_KEY)).load("whoop", "anna") == tokens("access")


async def test_rows_in_use_and_rows_that_do_not_open_are_left(bench: Bench, store: TokenStore) -> None:
    for user in ("anna", "ben", "carl"):
        await store.save("whoop", user, tokens(user))
    await bench.sql(r"UPDATE oauth_tokens SET access_token = '\x01036f6c64' WHERE user_id = 'ben'")
    rotating = TokenStore(bench.two, TokenBox(f"{NEW_KEY}\n{OLD_KEY}"))
    async with store.locked("whoop", "anna"):
        assert await rotating.reencrypt_all() == Rotation(reencrypted=1, unreadable=1, left=2)
    assert await rotating.reencrypt_all() == Rotation(reencrypted=1, unreadable=1, left=1)


# --- parked deliveries

HEADERS = [("provider", b"oura"), ("ce_id", b"1"), ("odd", b"\x00\xff"), ("odd", b""), ("ümläut", "ü".encode())]
LIKE: dict[str, Any] = {
    "provider": "oura",
    "reason": "unknown-user",
    "first_seen": at(-60),
    "attempts": 1,
    "due_at": at(0),
}


@pytest.fixture
def parking(bench: Bench) -> Parking:
    """Of one replica."""
    return Parking(bench.one)


def waiting(value: bytes, due: float = 0, **changed: Any) -> Waiting:
    return Waiting(**{**LIKE, "value": value, "headers": HEADERS, "due_at": at(due), **changed})


async def park(parking: Parking, value: bytes, due: float = 0, **changed: Any) -> uuid.UUID:
    (parked,) = await parking.park([waiting(value, due, **changed)])
    return parked


async def take(parking: Parking, minutes: float, limit: int = 100, most_bytes: int = 2**25) -> list[Parked]:
    return await parking.take_due(at(minutes), limit=limit, most_bytes=most_bytes)


async def give_back(parking: Parking, taken: list[Parked]) -> None:
    await parking.put_off([PutOff(one.id, one.due_at, one.reason, tried=False) for one in taken])


async def test_a_parked_delivery_comes_back_as_it_was(bench: Bench, parking: Parking) -> None:
    value = bytes(range(256))
    parked = await park(parking, value, 5)
    empty = await park(parking, b"", 4)
    taken = await take(Parking(bench.two), 10)
    assert [delivery.id for delivery in taken] == [empty, parked]
    assert taken[1] == Parked("oura", value, HEADERS, "unknown-user", 1, at(-60), at(5), parked)


async def test_the_same_record_is_parked_once(parking: Parking) -> None:
    first = await park(parking, b"{}")
    assert await park(parking, b"{}", 99, attempts=7) == first
    others = {await park(parking, b"{ }"), await park(parking, b"{}", provider="whoop")}
    others.add(await park(parking, b"{}", headers=HEADERS[1:]))
    assert len(others - {first}) == 3
    assert await parking.census() == Census(4, at(-60))
    assert {delivery.attempts for delivery in await take(parking, 0)} == {1}


async def test_many_are_parked_in_one_statement_and_equal_ones_once(bench: Bench, parking: Parking) -> None:
    many = [waiting(f"{n % 300}".encode(), n, first_seen=at(-n)) for n in range(400)]
    ids = await asyncio.gather(parking.park(many), Parking(bench.two).park(many[::-1]))
    assert set(ids[0]) == set(ids[1])
    assert ids[0] == ids[1][::-1]
    assert (await parking.census()).parked == 300
    assert await parking.park([]) == []


async def test_nothing_is_parked_when_one_of_many_is_wrong(parking: Parking) -> None:
    with pytest.raises(ValueError, match="short name"):
        await parking.park([waiting(b"fine"), waiting(b"{}", reason="user 17 unknown")])
    assert await parking.census() == Census(0, None)


async def test_only_what_is_due_is_taken_the_longest_due_first(parking: Parking) -> None:
    for minutes in (3, 1, 2, 11):
        await park(parking, str(minutes).encode(), minutes)
    taken = await take(parking, 10)
    assert [delivery.value for delivery in taken] == [b"1", b"2", b"3"]
    await give_back(parking, taken)
    assert [delivery.value for delivery in await take(parking, 10, limit=2)] == [b"1", b"2"]
    assert await take(parking, 0) == []


async def test_providers_that_nothing_is_wanted_of_are_left(parking: Parking) -> None:
    for provider in ("oura", "whoop", "terra"):
        await park(parking, b"{}", provider=provider)
    taken = await parking.take_due(at(0), limit=10, most_bytes=1000, without=["oura", "terra"])
    assert [delivery.provider for delivery in taken] == ["whoop"]


async def test_a_batch_is_bounded_by_bytes_but_never_empty(parking: Parking) -> None:
    large = secrets.token_bytes(16 * 1024 * 1024)
    for minutes, size in ((1, 300), (2, 800), (3, 100), (4, 600), (5, 1)):
        await park(parking, large[:size], minutes)
    taken = await take(parking, 10, most_bytes=1000)
    assert [len(delivery.value) for delivery in taken] == [300, 100, 600]
    await give_back(parking, taken)
    await park(parking, large, 0)
    taken = await take(parking, 10, most_bytes=1000)
    assert [delivery.value == large for delivery in taken] == [True]
    await give_back(parking, taken)
    assert len(await take(parking, 10)) == 6


async def test_two_replicas_never_have_the_same_delivery(bench: Bench) -> None:
    one, two = Parking(bench.one), Parking(bench.two)
    parked = {await park(one, f"{n}".encode(), n % 3) for n in range(30)}
    first, second = await take(one, 10, limit=10), await take(two, 10, limit=30)
    mine, others = ({delivery.id for delivery in taken} for taken in (first, second))
    assert len(mine) == 10
    assert others == parked - mine
    await give_back(one, first + second)
    handled: list[uuid.UUID] = []

    async def work(parking: Parking) -> None:
        while taken := await take(parking, 10, limit=3):
            handled.extend(delivery.id for delivery in taken)
            await parking.done([delivery.id for delivery in taken])

    await asyncio.gather(*(work(parking) for parking in (one, two, one, two)))
    assert sorted(handled) == sorted(parked)
    assert (await one.census()).parked == 0


async def test_what_is_not_taken_stays_free_for_others(bench: Bench) -> None:
    for n in range(4):
        await park(Parking(bench.one), b"x" * (500 + n), n)
    first = await take(Parking(bench.one), 10, most_bytes=1100)
    second = await take(Parking(bench.two), 10)
    assert [len(delivery.value) for delivery in first] == [500, 501]
    assert [len(delivery.value) for delivery in second] == [502, 503]


async def test_a_delivery_is_put_off_or_done(parking: Parking) -> None:
    failing, held, fine = [await park(parking, name, 1) for name in (b"failing", b"held", b"fine")]
    await take(parking, 10)
    await parking.put_off([PutOff(failing, at(30), "vendor-away"), PutOff(held, at(31), "held-back", tried=False)])
    await parking.done([fine])
    assert await take(parking, 29) == []
    first, second = await take(parking, 31)
    assert replace(first, headers=[]) == Parked("oura", b"failing", [], "vendor-away", 2, at(-60), at(30), failing)
    assert (second.id, second.reason, second.attempts) == (held, "held-back", 1)


async def test_whoever_dies_with_a_delivery_leaves_it_due_after_the_lease(bench: Bench, parking: Parking) -> None:
    parked = await park(parking, b"{}", 1)
    assert len(await take(parking, 10)) == 1
    lease = LEASE.total_seconds() / 60
    assert await take(Parking(bench.two), 10 + lease - 0.01) == []
    (again,) = await take(Parking(bench.two), 10 + lease)
    assert (again.id, again.attempts, again.reason) == (parked, 1, "unknown-user")


async def test_what_somebody_else_has_done_meanwhile_does_not_come_back(bench: Bench, parking: Parking) -> None:
    parked = await park(parking, b"{}")
    await take(parking, 0)
    await take(Parking(bench.two), 60)
    await parking.done([parked])
    await Parking(bench.two).put_off([PutOff(parked, at(0), "vendor-away")])
    await Parking(bench.two).done([parked])
    assert await parking.census() == Census(0, None)


async def test_a_reason_is_a_short_name(parking: Parking) -> None:
    parked = await park(parking, b"{}")
    with pytest.raises(ValueError, match="short name"):
        await parking.put_off([PutOff(parked, at(1), "anna@example.org is unknown")])


# --- what holds for all


async def test_without_the_server_everything_is_unavailable_and_then_works_again(bench: Bench) -> None:
    connections, parking = Connections(bench.one), Parking(bench.one)
    store = TokenStore(bench.one, TokenBox(OLD_KEY))
    await connections.connect("oura", "o-1", "anna", at(0))
    bench.postgres.server.stop()
    try:
        async with AsyncExitStack() as stack:
            calls = (
                lambda: connections.user_of("oura", "o-1", at(0)),
                lambda: connections.connect("oura", "o-1", "anna", at(0)),
                lambda: connections.disconnect("oura", "o-1", at(0)),
                lambda: connections.rename("oura", "o-1", "o-2", at(0)),
                lambda: connections.erase("anna"),
                lambda: store.save("whoop", "anna", tokens("access")),
                lambda: store.load("whoop", "anna"),
                lambda: stack.enter_async_context(store.locked("whoop", "anna")),
                lambda: store.erase("anna"),
                store.reencrypt_all,
                lambda: park(parking, b"{}"),
                lambda: take(parking, 0),
                lambda: parking.done([uuid.uuid4()]),
                lambda: parking.put_off([PutOff(uuid.uuid4(), at(0), "vendor-away")]),
                parking.census,
            )
            for call in calls:
                with pytest.raises(UnavailableError, match="database"):
                    await call()
    finally:
        bench.postgres.server.start()
    assert await connections.user_of("oura", "o-1", at(0)) == "anna"
