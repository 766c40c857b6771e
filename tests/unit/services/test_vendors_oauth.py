"""Tokens: refreshed once, the new pair saved before it is used, an ended grant told apart from our own mistakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from auren.bridge.credentials import Credentials
from auren.bridge.tokens import NoTokensError, Tokens
from auren.bridge.vendors import NotAllowedError, RetryLaterError, UpstreamFailedError, VendorError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.exchange import http_client
from auren.bridge.vendors.oauth import MARGIN, REFUSED_FOR, Locked, RefreshingTokens
from auren.bridge.vendors.token_endpoint import OURS_SECONDS
from auren.link import CLOSED, OPEN, UnavailableError
from tests.unit.services.test_vendors_breaker import Time
from tests.unit.services.vendor_double import CLIENT_ID, CLIENT_SECRET, Fault, VendorDouble

USER = "anna-secret-id"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class MemoryLocked:
    """What a holder of the lock sees."""

    store: MemoryStore
    tokens: Tokens

    async def save(self, tokens: Tokens) -> None:
        self.store.log.append("save in the lock")
        if self.store.lost:
            if self.store.left is not None:
                self.store.tokens = self.store.left
            raise UnavailableError("database", "the connection was lost")
        self.store.tokens[USER] = self.tokens = tokens


@dataclass
class MemoryStore:
    """A store of the tests: one lock, and it can be lost while it is held."""

    tokens: dict[str, Tokens] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    lost: bool = False
    left: dict[str, Tokens] | None = None
    """What others leave there once it is lost; None for what was there."""
    fails: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, provider: str, user_id: str) -> Tokens | None:
        assert provider == "whoop"
        return self.tokens.get(user_id)

    async def replace(self, provider: str, user_id: str, before: Tokens, tokens: Tokens) -> bool:
        assert provider == "whoop"
        self.log.append("save late")
        if self.fails:
            self.fails -= 1
            raise UnavailableError("database", "away")
        if self.tokens.get(user_id) != before:
            return False
        self.tokens[user_id] = tokens
        return True

    @asynccontextmanager
    async def locked(self, provider: str, user_id: str) -> AsyncIterator[Locked]:
        assert provider == "whoop"
        async with self.lock:
            if user_id not in self.tokens:
                raise NoTokensError("no tokens")
            yield MemoryLocked(self, self.tokens[user_id])


class Bench:
    """Tokens of one person, as several replicas see them."""

    def __init__(self, folder: Path, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.folder = folder
        (folder / "client-id").write_text(CLIENT_ID + "\n")
        (folder / "client-secret").write_text(CLIENT_SECRET)
        self.double = VendorDouble()
        self.store = MemoryStore()
        self.now = NOON
        self.breaker = Breaker("whoop-oauth", Time(), failures=2)
        self.client = http_client(transport or httpx.ASGITransport(self.double.app))
        access, refresh = self.double.connect(USER)
        self.store.tokens[USER] = Tokens(access, refresh, NOON + timedelta(hours=1), ("offline",), NOON)

    def replica(self) -> RefreshingTokens:
        return RefreshingTokens(
            "whoop",
            "https://vendor.example.org/oauth/token",
            self.store,
            Credentials(self.folder),
            self.client,
            self.breaker,
            scope="offline",
            now=lambda: self.now,
            save_delays=(0, 0, 0),
        )

    @property
    def kept(self) -> Tokens:
        return self.store.tokens[USER]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_good_token_is_used_as_it_is(bench: Bench) -> None:
    assert await bench.replica().access_token(USER) == bench.kept.access
    assert bench.double.requests == []


async def test_a_token_about_to_end_is_refreshed(bench: Bench) -> None:
    before = bench.kept
    bench.now = NOON + timedelta(hours=1) - MARGIN
    token = await bench.replica().access_token(USER)
    assert token == bench.kept.access == bench.double.grants[0].access != before.access
    assert bench.kept.refresh == bench.double.grants[0].refresh != before.refresh
    assert bench.kept.expires_at == bench.now + timedelta(hours=1)
    assert bench.kept.refreshed_at == bench.now
    assert bench.double.forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": before.refresh,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scope": "offline",
        }
    ]


async def test_a_token_without_an_end_is_used_until_it_is_refused(bench: Bench) -> None:
    bench.store.tokens[USER] = replace(bench.kept, expires_at=None)
    bench.double.expires_in = None
    bench.now = NOON + timedelta(days=400)
    stale = await bench.replica().access_token(USER)
    fresh = await bench.replica().access_token(USER, stale=stale)
    assert fresh != stale
    assert bench.kept.expires_at is None


async def test_a_refused_token_is_refreshed_once_for_all_who_hold_it(bench: Bench) -> None:
    stale = bench.kept.access
    replicas = [bench.replica() for _ in range(3)]
    tokens = await asyncio.gather(*(r.access_token(USER, stale=stale) for r in replicas for _ in range(5)))
    assert set(tokens) == {bench.kept.access}
    assert len(bench.double.forms) == 1


async def test_what_somebody_else_has_refreshed_is_not_refreshed_again(bench: Bench) -> None:
    stale = bench.kept.access
    fresh = await bench.replica().access_token(USER, stale=stale)
    assert await bench.replica().access_token(USER, stale=stale) == fresh
    assert len(bench.double.forms) == 1


async def test_refreshes_follow_each_other_with_rotation(bench: Bench) -> None:
    replica, seen = bench.replica(), {bench.kept.refresh}
    for _ in range(4):
        await replica.access_token(USER, stale=bench.kept.access)
        assert bench.kept.refresh not in seen
        assert bench.kept.refresh is not None
        seen.add(bench.kept.refresh)


async def test_a_vendor_that_does_not_rotate_keeps_its_refresh_token(bench: Bench) -> None:
    bench.double.rotate = False
    before = bench.kept.refresh
    await bench.replica().access_token(USER, stale=bench.kept.access)
    assert bench.kept.refresh == before


async def test_the_new_pair_is_saved_before_the_token_is_given_out(bench: Bench) -> None:
    token = await bench.replica().access_token(USER, stale=bench.kept.access)
    assert bench.store.log == ["save in the lock"]
    assert bench.kept.access == token


async def test_a_caller_who_is_cancelled_loses_no_token(bench: Bench) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    inner = httpx.ASGITransport(bench.double.app)

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await inner.handle_async_request(request)
            arrived.set()  # the vendor has used up the old pair
            await go_on.wait()
            return answer

    bench.client = http_client(Slow())
    replica = bench.replica()
    before = bench.kept
    caller = asyncio.create_task(replica.access_token(USER, stale=before.access))
    await arrived.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert caller.cancelled()
    assert bench.kept == before
    asyncio.get_running_loop().call_soon(go_on.set)
    await replica.stop()
    assert bench.kept.refresh == bench.double.grants[0].refresh != before.refresh


async def test_a_store_that_is_lost_with_its_lock_gets_the_pair_later(bench: Bench) -> None:
    bench.store.lost, bench.store.fails = True, 2
    token = await bench.replica().access_token(USER, stale=bench.kept.access)
    assert bench.store.log == ["save in the lock", "save late", "save late", "save late"]
    assert bench.kept.access == token
    assert bench.kept.refresh == bench.double.grants[0].refresh


async def test_a_late_pair_does_not_bring_back_who_has_disconnected(bench: Bench) -> None:
    bench.store.lost, bench.store.left = True, {}
    with pytest.raises(NotAllowedError) as refused:
        await bench.replica().access_token(USER, stale=bench.kept.access)
    assert refused.value.connection_broken
    assert bench.store.tokens == {}


async def test_a_late_pair_does_not_replace_that_of_a_new_connection(bench: Bench) -> None:
    new = Tokens(*bench.double.connect(USER), NOON + timedelta(hours=1), ("offline",), NOON + timedelta(seconds=1))
    bench.store.lost, bench.store.left = True, {USER: new}
    assert await bench.replica().access_token(USER, stale=bench.kept.access) == new.access
    assert bench.kept == new


async def test_a_pair_that_cannot_be_saved_is_not_used(bench: Bench) -> None:
    bench.store.lost, bench.store.fails = True, 100
    with pytest.raises(UnavailableError):
        await bench.replica().access_token(USER, stale=bench.kept.access)


async def test_a_store_that_is_away_asks_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_provider: str, _user_id: str) -> Tokens | None:
        raise UnavailableError("database", "away")

    monkeypatch.setattr(bench.store, "load", away)
    with pytest.raises(UnavailableError):
        await bench.replica().access_token(USER)
    assert bench.double.requests == []


async def test_an_ended_grant_breaks_the_connection(bench: Bench) -> None:
    bench.double.revoke(USER)
    with pytest.raises(NotAllowedError) as refused:
        await bench.replica().access_token(USER, stale=bench.kept.access)
    assert refused.value.connection_broken
    assert bench.breaker.state == CLOSED


async def test_a_refused_refresh_token_is_not_shown_again_so_soon(bench: Bench) -> None:
    bench.store.tokens[USER] = replace(bench.kept, expires_at=NOON)
    grants = bench.double.grants
    bench.double.grants = []
    tokens = bench.replica()
    for _ in range(3):
        with pytest.raises(NotAllowedError) as refused:
            await tokens.access_token(USER)
        assert refused.value.connection_broken
    assert len(bench.double.forms) == 1
    bench.double.grants = grants  # our credentials were wrong, and are right again
    bench.now += REFUSED_FOR
    assert await tokens.access_token(USER) == bench.kept.access
    assert len(bench.double.forms) == 2


async def test_who_connects_again_is_not_held_to_the_refusal(bench: Bench) -> None:
    bench.store.tokens[USER] = replace(bench.kept, expires_at=NOON)
    bench.double.grants = []
    tokens = bench.replica()
    with pytest.raises(NotAllowedError):
        await tokens.access_token(USER)
    access, refresh = bench.double.connect(USER)
    bench.now += timedelta(seconds=30)
    bench.store.tokens[USER] = Tokens(access, refresh, bench.now, ("offline",), bench.now)
    assert await tokens.access_token(USER) == bench.kept.access != access


@pytest.mark.parametrize("stale", [None, "whatever"])
async def test_nobody_connected(bench: Bench, stale: str | None) -> None:
    bench.store.tokens.clear()
    with pytest.raises(NotAllowedError) as refused:
        await bench.replica().access_token(USER, stale=stale)
    assert refused.value.connection_broken


async def test_somebody_disconnects_while_a_refresh_waits_for_the_lock(bench: Bench) -> None:
    await bench.store.lock.acquire()
    waiting = asyncio.create_task(bench.replica().access_token(USER, stale=bench.kept.access))
    for _ in range(5):
        await asyncio.sleep(0)
    bench.store.tokens.clear()
    bench.store.lock.release()
    with pytest.raises(NotAllowedError):
        await waiting
    assert bench.double.requests == []


async def test_without_a_refresh_token_only_the_person_can_help(bench: Bench) -> None:
    bench.store.tokens[USER] = replace(bench.kept, refresh=None)
    with pytest.raises(NotAllowedError) as refused:
        await bench.replica().access_token(USER, stale=bench.kept.access)
    assert refused.value.connection_broken
    assert bench.double.requests == []


@pytest.mark.parametrize("name", ["client-id", "client-secret"])
async def test_missing_credentials_are_our_fault(bench: Bench, name: str) -> None:
    (bench.folder / name).unlink()
    with pytest.raises(RetryLaterError) as refused:
        await bench.replica().access_token(USER, stale=bench.kept.access)
    assert refused.value.seconds == OURS_SECONDS
    assert bench.double.requests == []


async def test_refused_credentials_are_our_fault_and_break_no_connection(bench: Bench) -> None:
    (bench.folder / "client-secret").write_text("another")
    with pytest.raises(RetryLaterError, match="invalid_client") as refused:
        await bench.replica().access_token(USER, stale=bench.kept.access)
    assert refused.value.seconds == OURS_SECONDS


@pytest.mark.parametrize(
    "fault",
    [
        Fault(400, body=b"<html>"),
        Fault(400, body=b'{"error": "anna-secret-id"}'),
        Fault(404),
        Fault(302, {"Location": "https://elsewhere.example.org"}),
        Fault(403, body=b"[]"),
    ],
)
async def test_an_unclear_refusal_breaks_no_connection(bench: Bench, fault: Fault) -> None:
    bench.double.faults.append(fault)
    with pytest.raises(RetryLaterError) as refused:
        await bench.replica().access_token(USER, stale=bench.kept.access)
    assert USER not in str(refused.value)


async def test_a_limited_token_endpoint(bench: Bench) -> None:
    bench.double.faults.append(Fault(429, {"Retry-After": "13"}))
    with pytest.raises(RetryLaterError) as refused:
        await bench.replica().access_token(USER, stale=bench.kept.access)
    assert refused.value.seconds == 13
    assert bench.breaker.state == CLOSED


@pytest.mark.parametrize(
    "fault",
    [Fault(500), Fault(200, body=b"<html>"), Fault(200, body=b"{}"), Fault(200, body=b'{"access_token": ""}')],
)
async def test_failures_open_the_breaker_and_change_nothing(bench: Bench, fault: Fault) -> None:
    before = bench.kept
    bench.double.faults.extend([fault] * 2)
    for _ in range(2):
        with pytest.raises(UpstreamFailedError):
            await bench.replica().access_token(USER, stale=before.access)
    assert bench.breaker.state == OPEN
    with pytest.raises(RetryLaterError):
        await bench.replica().access_token(USER, stale=before.access)
    assert len(bench.double.forms) == 2
    assert bench.kept == before


async def test_after_a_failure_the_next_caller_tries_again(bench: Bench) -> None:
    replica, stale = bench.replica(), bench.kept.access
    bench.double.faults.append(Fault(500))
    with pytest.raises(UpstreamFailedError):
        await replica.access_token(USER, stale=stale)
    assert await replica.access_token(USER, stale=stale) == bench.kept.access != stale


async def test_scopes_that_the_vendor_names_are_kept(bench: Bench) -> None:
    body = json.dumps({"access_token": "a", "scope": "read:sleep offline"}).encode()
    bench.double.faults.append(Fault(200, body=body))
    await bench.replica().access_token(USER, stale=bench.kept.access)
    assert bench.kept.scopes == ("read:sleep", "offline")
    bench.double.faults.append(Fault(200, body=b'{"access_token": "b"}'))
    await bench.replica().access_token(USER, stale="a")
    assert bench.kept.scopes == ("read:sleep", "offline")


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
async def test_errors_show_no_secrets(bench: Bench, status: int) -> None:
    kept = bench.kept
    echo = json.dumps({"error": f"{kept.refresh} {CLIENT_SECRET}", "access_token": 5}).encode()
    bench.double.faults.append(Fault(status, body=echo))
    with pytest.raises(VendorError) as refused:
        await bench.replica().access_token(USER, stale=kept.access)
    shown = repr(refused.value) + repr(refused.value.__cause__)
    for secret in (USER, kept.access, str(kept.refresh), CLIENT_SECRET):
        assert secret not in shown
