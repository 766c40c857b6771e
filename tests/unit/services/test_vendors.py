"""Fetching documents from Oura and WHOOP, against a double that keeps their rules."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from auren.bridge.decoders import Notice
from auren.bridge.vendors import (
    Fetched,
    GoneError,
    NotAllowedError,
    RetryLaterError,
    UnusableError,
    UpstreamFailedError,
    VendorError,
    oura,
    whoop,
)
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.calls import MOST_BYTES, Api
from auren.bridge.vendors.exchange import http_client
from auren.bridge.vendors.oura import OuraApi
from auren.bridge.vendors.whoop import WhoopApi
from auren.link import CLOSED, OPEN
from tests.unit.services.test_vendors_breaker import Time
from tests.unit.services.vendor_double import Fault, VendorDouble

USER = "anna-secret-id"
SLEEP = "ecfc6a15-4661-442f-a9a4-f160dd7afae8"
SLEEP_PATH = f"/v2/activity/sleep/{SLEEP}"


@dataclass
class OneToken:
    """Gives the double's current access token, and counts what it is asked."""

    double: VendorDouble
    stale: list[str | None] = field(default_factory=list)
    renews: bool = True

    async def access_token(self, user_id: str, *, stale: str | None = None) -> str:
        assert user_id == USER
        self.stale.append(stale)
        grant = next((grant for grant in self.double.grants if grant.person == USER), None)
        if grant is None:
            return "revoked"
        if stale is not None and self.renews:
            grant.access = "renewed"
        return grant.access if grant.access != "ended" else "the-old-one"


@dataclass
class CountedLimits:
    """Lets everything through, unless told to refuse."""

    spent: int = 0
    pauses: list[float] = field(default_factory=list)
    refuse: bool = False

    async def spend(self) -> None:
        if self.refuse:
            raise RetryLaterError(3, "the rate limit for whoop")
        self.spent += 1

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@dataclass
class Bench:
    """An Api in front of a double."""

    double: VendorDouble = field(default_factory=VendorDouble)
    limits: CountedLimits = field(default_factory=CountedLimits)
    clock: Time = field(default_factory=Time)
    transport: httpx.AsyncBaseTransport | None = None

    def __post_init__(self) -> None:
        self.tokens = OneToken(self.double)
        self.breaker = Breaker("vendor", self.clock, failures=2)
        client = http_client(self.transport or httpx.ASGITransport(self.double.app))
        self.api = Api("https://vendor.example.org", client, self.tokens, self.limits, self.breaker)

    async def whoop(self, data_type: str = "sleep", document_id: str = SLEEP, deleted: bool = False) -> list[Fetched]:
        return await WhoopApi(self.api).fetch(USER, Notice("456", data_type, document_id, deleted, 1))

    async def oura(self, data_type: str, document_id: str = "12345abc", deleted: bool = False) -> list[Fetched]:
        return await OuraApi(self.api).fetch(USER, Notice("u1", data_type, document_id, deleted, 1))


def connected(**documents: object) -> Bench:
    """A bench whose person has one sleep at WHOOP."""
    bench = Bench()
    bench.double.connect(USER)
    bench.double.documents[USER, SLEEP_PATH] = {"id": SLEEP, "cycle_id": 93845, **documents}
    return bench


@pytest.mark.parametrize("data_type", sorted(oura.PATHS))
async def test_oura_documents_by_id(data_type: str) -> None:
    bench = Bench()
    bench.double.connect(USER)
    spelled = "vO2_max" if data_type == "vo2_max" else data_type
    bench.double.documents[USER, f"/v2/usercollection/{spelled}/12345abc"] = {"id": "12345abc"}
    (fetched,) = await bench.oura(data_type)
    assert (fetched.document_type, json.loads(fetched.raw)) == (data_type, {"id": "12345abc"})
    assert bench.limits.spent == 1


@pytest.mark.parametrize("data_type", ["heartrate", "meal", "VO2_max", "daily_unheard_of", "../personal_info", ""])
async def test_oura_types_without_a_route_are_left(data_type: str) -> None:
    bench = Bench()
    assert await bench.oura(data_type) == []
    assert bench.double.requests == []


@pytest.mark.parametrize("data_type", ["sleep", "workout"])
async def test_whoop_documents_by_id(data_type: str) -> None:
    bench = Bench()
    bench.double.connect(USER)
    bench.double.documents[USER, f"/v2/activity/{data_type}/{SLEEP}"] = {"id": SLEEP}
    (fetched,) = await bench.whoop(data_type)
    assert (fetched.document_type, json.loads(fetched.raw)) == (data_type, {"id": SLEEP})


async def test_whoop_recovery_through_its_sleep() -> None:
    bench = connected()
    recovery = {"cycle_id": 93845, "sleep_id": SLEEP.upper(), "score_state": "SCORED"}
    bench.double.documents[USER, "/v2/cycle/93845/recovery"] = recovery
    (fetched,) = await bench.whoop("recovery")
    assert (fetched.document_type, json.loads(fetched.raw)) == ("recovery", recovery)
    assert [path for _, path in bench.double.requests] == [SLEEP_PATH, "/v2/cycle/93845/recovery"]
    assert bench.limits.spent == 2


async def test_whoop_recovery_of_another_sleep_is_not_taken_for_this_one() -> None:
    bench = connected()
    bench.double.documents[USER, "/v2/cycle/93845/recovery"] = {"cycle_id": 93845, "sleep_id": "another"}
    with pytest.raises(GoneError):
        await bench.whoop("recovery")


@pytest.mark.parametrize("cycle_id", ["93845", None, 1.5, "../../v2/user/profile/basic"])
async def test_whoop_sleep_with_a_strange_cycle_is_not_followed(cycle_id: object) -> None:
    bench = connected(cycle_id=cycle_id)
    with pytest.raises(UnusableError):
        await bench.whoop("recovery")
    assert len(bench.double.requests) == 1


async def test_whoop_unknown_types_and_deletions_ask_nobody() -> None:
    bench = connected()
    assert await bench.whoop("cycle") == []
    assert await bench.whoop("sleep", deleted=True) == []
    assert await bench.oura("sleep", deleted=True) == []
    assert bench.double.requests == []


@pytest.mark.parametrize("document_id", ["", "..", "a/b", "a?b=c", "a#b", "%2e%2e", "a b", "ä", "x" * 129, "a\n"])
async def test_a_strange_id_never_becomes_a_path(document_id: str) -> None:
    bench = connected()
    for fetch in (bench.whoop, bench.oura):
        with pytest.raises(UnusableError):
            await fetch("sleep", document_id)
    assert bench.double.requests == []


async def test_a_refused_token_is_refreshed_once_and_the_call_repeated() -> None:
    bench = connected()
    bench.double.end_access(USER)
    (fetched,) = await bench.whoop()
    assert json.loads(fetched.raw)["id"] == SLEEP
    assert bench.tokens.stale == [None, "the-old-one"]
    assert bench.limits.spent == 2


async def test_a_refused_fresh_token_ends_the_connection() -> None:
    bench = connected()
    bench.double.revoke(USER)
    with pytest.raises(NotAllowedError) as refused:
        await bench.whoop()
    assert refused.value.connection_broken
    assert len(bench.double.requests) == 2
    assert bench.breaker.state == CLOSED


async def test_a_missing_scope_leaves_the_connection() -> None:
    bench = Bench()
    bench.double.connect(USER, scopes={"read:workout"})
    with pytest.raises(NotAllowedError) as refused:
        await bench.whoop()
    assert not refused.value.connection_broken
    assert len(bench.double.requests) == 1


async def test_a_document_that_is_gone() -> None:
    bench = connected()
    bench.double.documents.clear()
    with pytest.raises(GoneError):
        await bench.whoop()


async def test_one_persons_token_brings_no_document_of_another() -> None:
    bench = connected()
    bench.double.documents = {("berta", SLEEP_PATH): {"id": SLEEP}}
    with pytest.raises(GoneError):
        await bench.whoop()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"X-RateLimit-Reset": "42"}, 42),  # WHOOP: from now
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "9999999"}, 86_400),
        ({"Retry-After": "soon"}, 60),
        ({"Retry-After": "-5"}, 60),
        ({}, 60),
    ],
)
async def test_a_429_pauses_all_for_as_long_as_the_vendor_says(headers: dict[str, str], seconds: float) -> None:
    bench = connected()
    bench.double.faults.append(Fault(429, headers))
    with pytest.raises(RetryLaterError) as refused:
        await bench.whoop()
    assert refused.value.seconds == seconds
    assert bench.limits.pauses == [seconds]
    assert bench.breaker.state == CLOSED


async def test_the_vendors_limit_counts_every_request() -> None:
    bench = connected()
    bench.double.remaining = 2
    await bench.whoop()
    await bench.whoop()
    with pytest.raises(RetryLaterError):
        await bench.whoop()


async def test_a_point_in_time_to_wait_for() -> None:
    bench = connected()
    bench.double.faults.append(Fault(429, {"X-RateLimit-Reset": "4102444800"}))  # Oura: Unix seconds, here far away
    with pytest.raises(RetryLaterError) as refused:
        await bench.whoop()
    assert refused.value.seconds == 86_400


async def test_our_own_limit_asks_nobody_and_is_no_failure_of_the_vendor() -> None:
    bench = connected()
    bench.limits.refuse = True
    for _ in range(5):
        with pytest.raises(RetryLaterError) as refused:
            await bench.whoop()
        assert not isinstance(refused.value, UpstreamFailedError)
    assert bench.double.requests == []
    assert bench.breaker.state == CLOSED


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408])
async def test_failures_of_the_vendor_open_the_breaker(status: int) -> None:
    bench = connected()
    bench.double.faults.extend([Fault(status, {"Retry-After": "11"}, b"<html>sorry</html>")] * 2)
    for _ in range(2):
        with pytest.raises(UpstreamFailedError) as refused:
            await bench.whoop()
        assert refused.value.seconds == 11
    assert bench.breaker.state == OPEN
    spent = bench.limits.spent
    with pytest.raises(RetryLaterError):
        await bench.whoop()
    assert len(bench.double.requests) == 2
    assert bench.limits.spent == spent  # a call that is not made costs nothing of the quota


async def test_the_breaker_closes_by_itself_when_the_vendor_is_back() -> None:
    bench = connected()
    bench.double.faults.extend([Fault(503)] * 2)
    for _ in range(2):
        with pytest.raises(UpstreamFailedError):
            await bench.whoop()
    bench.clock.now += 30
    await bench.whoop()
    assert bench.breaker.state == CLOSED


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    bench = connected()
    bench.double.faults.append(Fault(status, {"Location": "https://elsewhere.example.org/"}))
    with pytest.raises(UnusableError):
        await bench.whoop()
    assert len(bench.double.requests) == 1


@pytest.mark.parametrize("status", [400, 405, 422, 206])
async def test_what_a_vendor_refuses_is_not_tried_again(status: int) -> None:
    bench = connected()
    bench.double.faults.append(Fault(status))
    with pytest.raises(UnusableError):
        await bench.whoop()


@pytest.mark.parametrize("content_type", ["text/html", "", "text/json", "application/jsonp"])
async def test_only_json_is_taken(content_type: str) -> None:
    bench = connected()
    bench.double.faults.append(Fault(200, {"content-type": content_type}, b"<html>maintenance</html>"))
    with pytest.raises(UpstreamFailedError):
        await bench.whoop()


async def test_json_with_a_charset_is_taken() -> None:
    bench = connected()
    bench.double.faults.append(Fault(200, {"content-type": "Application/JSON; charset=utf-8"}, b'{"a": 1}'))
    assert (await bench.whoop())[0].raw == b'{"a": 1}'


async def test_the_largest_document_is_taken_and_one_byte_more_is_not() -> None:
    bench = connected()
    whole = b'"' + b"x" * (MOST_BYTES - 2) + b'"'
    bench.double.faults.append(Fault(200, body=whole))
    assert (await bench.whoop())[0].raw == whole
    bench.double.faults.append(Fault(200, body=whole + b" "))
    with pytest.raises(UnusableError):
        await bench.whoop()


async def test_a_bomb_is_not_inflated() -> None:
    bench = connected()
    bomb = gzip.compress(b" " * (MOST_BYTES + 1))
    bench.double.faults.append(Fault(200, {"content-encoding": "gzip"}, bomb))
    with pytest.raises(UnusableError, match="too large"):
        await bench.whoop()


async def test_gzip_is_read() -> None:
    bench = connected()
    bench.double.faults.append(Fault(200, {"content-encoding": "gzip"}, gzip.compress(b'{"a": 1}')))
    assert (await bench.whoop())[0].raw == b'{"a": 1}'


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(b'{"a": 1}')[:-4]),
        ("gzip", gzip.compress(b"{}") + gzip.compress(b"{}")),
        ("br", b"?"),
    ],
)
async def test_a_body_that_cannot_be_read(encoding: str, body: bytes) -> None:
    bench = connected()
    bench.double.faults.append(Fault(200, {"content-encoding": encoding}, body))
    with pytest.raises(UnusableError):
        await bench.whoop()


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("https://vendor.example.org/anna-secret-id"),
        httpx.ReadTimeout("anna-secret-id"),
        httpx.RemoteProtocolError("anna-secret-id"),
        httpx.PoolTimeout("anna-secret-id"),
    ],
)
async def test_a_lost_connection_is_a_failure_of_the_vendor(error: httpx.TransportError) -> None:
    def broken(_request: httpx.Request) -> httpx.Response:
        raise error

    bench = Bench(transport=httpx.MockTransport(broken))
    bench.double.connect(USER)
    with pytest.raises(UpstreamFailedError) as refused:
        await bench.whoop()
    assert type(error).__name__ in str(refused.value)


async def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drip(httpx.AsyncByteStream):
        closed = False

        async def __aiter__(self):  # type: ignore[no-untyped-def]
            while True:
                yield b" "
                await asyncio.sleep(0.001)

        async def aclose(self) -> None:
            Drip.closed = True

    def drip(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/json"}, stream=Drip())

    monkeypatch.setattr("auren.bridge.vendors.calls.TOTAL_SECONDS", 0.05)
    bench = Bench(transport=httpx.MockTransport(drip))
    bench.double.connect(USER)
    with pytest.raises(UpstreamFailedError):
        await bench.whoop()
    assert Drip.closed


async def test_cookies_of_one_person_do_not_reach_the_next_request() -> None:
    bench = connected()
    bench.double.faults.append(Fault(200, {"set-cookie": "session=anna; Path=/"}))
    await bench.whoop()
    await bench.whoop()
    assert "cookie" not in bench.double.headers[1]


FAULTS: list[Callable[[Bench], None]] = [
    lambda bench: bench.double.revoke(USER),
    lambda bench: bench.double.documents.clear(),
    lambda bench: bench.double.faults.append(Fault(503, body=SLEEP.encode())),
    lambda bench: bench.double.faults.append(Fault(429, body=SLEEP.encode())),
    lambda bench: bench.double.faults.append(Fault(403, body=SLEEP.encode())),
    lambda bench: bench.double.faults.append(Fault(400, body=SLEEP.encode())),
    lambda bench: bench.double.faults.append(Fault(200, {"content-type": "text/html"}, SLEEP.encode())),
]


@pytest.mark.parametrize("break_it", FAULTS)
async def test_errors_name_nobody(break_it: Callable[[Bench], None]) -> None:
    bench = connected()
    token = bench.double.grants[0].access
    break_it(bench)
    with pytest.raises(VendorError) as refused:
        await bench.whoop()
    shown = repr(refused.value) + str(refused.value) + repr(refused.value.__cause__)
    for secret in (USER, SLEEP, token, "456"):
        assert secret not in shown


def test_a_fetched_document_does_not_show_itself() -> None:
    assert "58" not in repr(Fetched("sleep", b'{"average_heart_rate": 58}'))


def test_the_addresses_are_the_vendors() -> None:
    assert (oura.BASE_URL, whoop.BASE_URL) == (
        "https://api.ouraring.com",
        "https://api.prod.whoop.com/developer",
    )
