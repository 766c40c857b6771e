"""Connecting accounts: what vendors are asked, what they may answer, and what becomes of a grant that is not used."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from auren.bridge.connect.accounts import LONGEST, Accounts, Disconnected, MissingError, Outcome, UnknownProviderError
from auren.bridge.connect.books import Begun, Ended, GoneError, Known
from auren.bridge.connect.logins import challenge, new_verifier
from auren.bridge.connect.pages import HEADERS, PAGES, html
from auren.bridge.connect.routes import router
from auren.bridge.connections import TakenError
from auren.bridge.settings import BridgeSettings
from auren.bridge.tokens import Tokens
from auren.bridge.vendors import RetryLaterError, UnusableError
from auren.bridge.vendors.breaker import Breakers
from auren.health import Health
from auren.http import create_app
from auren.link import UnavailableError
from auren.telemetry import Metrics
from tests.unit.services.front import SETTINGS, URL, token, verifier
from tests.unit.services.vendor_double import CLIENT_ID, CLIENT_SECRET, SCOPES, Fault, VendorDouble
from tests.unit.services.vendor_logins import API_KEY, DEV_ID, WIDGET_PATH, WIDGET_URL

VENDOR = "https://vendor.example.org"
USER = "anna-secret-id"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
WHOSE = {"oura": "/v2/usercollection/personal_info", "whoop": "/v2/user/profile/basic"}


@dataclass
class MemoryBooks:
    """Stands for the tables. `fails` is raised when tokens are saved."""

    begun: dict[str, tuple[str, Begun]] = field(default_factory=dict)
    saved: dict[tuple[str, str], tuple[str, Tokens]] = field(default_factory=dict)
    fails: Exception | None = None
    former: Tokens | None = None

    async def begin(self, state: str, provider: str, user_id: str, verifier: str | None, at: datetime) -> None:
        self.begun[state] = provider, Begun(user_id, verifier, at, b"")

    async def take(self, state: str, provider: str, at: datetime) -> Begun | None:
        found = self.begun.pop(state, None)
        return found[1] if found is not None and found[0] == provider else None

    async def save(
        self, provider: str, provider_user_id: str, begun: Begun, tokens: Tokens, at: datetime
    ) -> Tokens | None:
        if self.fails is not None:
            raise self.fails
        self.saved[provider, begun.user_id] = provider_user_id, tokens
        return self.former

    async def end(self, provider: str, user_id: str, at: datetime) -> Ended:
        ids = {"terra": ("t-1", "t-2")}
        found = self.saved.pop((provider, user_id), None)
        if found is None:
            return Ended(ids.get(provider, ()), had_tokens=False, tokens=None)
        return Ended((found[0],), had_tokens=True, tokens=found[1])

    async def held(self, provider: str, user_id: str) -> Ended:
        kept = dict(self.saved)
        found = await self.end(provider, user_id, NOON)
        self.saved = kept
        return found

    async def of(self, user_id: str) -> list[Known]:
        return [Known(p, NOON, True, t.scopes) for (p, u), (_, t) in self.saved.items() if u == user_id]


class Bench:
    """Accounts with a vendor that is all three."""

    def __init__(self, folder: Path, public_url: str = URL, books: MemoryBooks | None = None) -> None:
        self.folder = folder
        for provider, names in {
            "oura": {"client-id": CLIENT_ID, "client-secret": CLIENT_SECRET},
            "whoop": {"client-id": CLIENT_ID, "client-secret": CLIENT_SECRET},
            "terra": {"dev-id": DEV_ID, "api-key": API_KEY},
        }.items():
            (folder / provider).mkdir(exist_ok=True)
            for name, content in names.items():
                (folder / provider / name).write_text(content + "\n")
        self.double, self.books, self.metrics = VendorDouble(), books or MemoryBooks(), Metrics("bridge")
        self.transport = httpx.ASGITransport(self.double.app)
        self.accounts = Accounts(
            BridgeSettings(
                providers_dir=folder,
                public_url=public_url,
                oauth_keyring=SecretStr("k1:" + "ab" * 32),
                kafka_bootstrap="nowhere:1",
                kafka_username="u",
                kafka_password=SecretStr("p"),
                database_host="nowhere",
                database_user="u",
                database_password=SecretStr("p"),
                redis_host="nowhere",
                redis_password=SecretStr("p"),
                oura_api_url=VENDOR,
                oura_token_url=f"{VENDOR}/oauth/token",
                oura_authorize_url=f"{VENDOR}/oauth/authorize",
                oura_revoke_url=f"{VENDOR}/oauth/revoke",
                whoop_api_url=VENDOR,
                whoop_token_url=f"{VENDOR}/oauth/token",
                whoop_authorize_url=f"{VENDOR}/oauth/authorize",
                terra_api_url=VENDOR,
                terra_widget_url=f"{VENDOR}{WIDGET_PATH}",
            ),
            self.books,
            Breakers(self.metrics),
            self.transport,
            lambda: NOON,
        )

    async def allowed(
        self, provider: str = "whoop", person: str | None = "456", document: Any = None
    ) -> dict[str, str]:
        """State and code, or error, of a person who was at the vendor."""
        self.double.logins.person = person
        if person is not None:
            member = "id" if provider == "oura" else "user_id"
            self.double.documents[person, WHOSE[provider]] = {member: person} if document is None else document
        async with httpx.AsyncClient(transport=self.transport) as browser:
            back = (await browser.get(await self.accounts.begin(provider, USER))).headers["location"]
        found = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
        return {"state": "", "code": "", "error": ""} | {k: v for k, v in found.items() if k != "error_description"}

    async def finish(self, provider: str = "whoop", **how: Any) -> Outcome:
        """The whole way."""
        return await self.accounts.finish(provider, **await self.allowed(provider, **how))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("provider", ["oura", "whoop"])
async def test_a_code_becomes_tokens_of_whom_the_vendor_names(bench: Bench, provider: str) -> None:
    assert await bench.finish(provider, person="456") is Outcome.CONNECTED
    vendors_id, tokens = bench.books.saved[provider, USER]
    (grant,) = bench.double.grants
    assert (vendors_id, tokens.access, tokens.refresh) == ("456", grant.access, grant.refresh)
    assert tokens.expires_at == NOON + timedelta(hours=1)
    assert set(tokens.scopes) == grant.scopes
    (form,) = bench.double.forms
    assert form["redirect_uri"] == f"{URL}/connect/{provider}/callback"
    assert ("code_verifier" in form) == (provider == "whoop")


async def test_the_scopes_are_those_of_all_documents_that_are_fetched(bench: Bench) -> None:
    for provider, beginning in (("oura", "/v2/usercollection/"), ("whoop", "/v2/")):
        asked = parse_qs(urlsplit(await bench.accounts.begin(provider, USER)).query)["scope"][0].split()
        wanted = {
            scope
            for path, scope in SCOPES.items()
            if path.startswith(beginning) and (provider == "oura") == path.startswith("/v2/usercollection/")
        }
        # the double keeps the name that Oura's OpenAPI has; its API wants `spo2`
        assert {{"spo2Daily": "spo2"}.get(scope, scope) for scope in wanted} <= set(asked)
        assert ("offline" in asked) == (provider == "whoop")


def test_the_challenge_is_that_of_the_rfc() -> None:
    """RFC 7636, appendix B."""
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", new_verifier())


async def test_a_number_is_an_id_too(bench: Bench) -> None:
    assert await bench.finish(document={"user_id": 9007199254740993}) is Outcome.CONNECTED
    assert bench.books.saved["whoop", USER][0] == "9007199254740993"


@pytest.mark.parametrize("document", [{}, [], "456", {"user_id": None}, {"user_id": True}, {"user_id": ""}])
async def test_a_vendor_that_does_not_say_whose_tokens_they_are_connects_nobody(bench: Bench, document: Any) -> None:
    assert await bench.finish(document=document) is Outcome.VENDOR_AWAY
    assert bench.books.saved == {}


async def test_without_the_scope_to_ask_who_it_is_nobody_is_connected(bench: Bench) -> None:
    came = await bench.allowed("oura")
    bench.double.faults.append(Fault(403, path=WHOSE["oura"]))
    assert await bench.accounts.finish("oura", **came) is Outcome.SCOPE
    assert (bench.books.saved, bench.double.grants) == ({}, [])


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault(400, body=b'{"error": "invalid_grant"}'), Outcome.REFUSED),
        (Fault(503), Outcome.VENDOR_AWAY),
        (Fault(200, body=b"<html>"), Outcome.VENDOR_AWAY),
        (Fault(401, body=b'{"error": "invalid_client"}'), Outcome.AWAY),
        (Fault(429), Outcome.AWAY),
    ],
)
async def test_what_a_token_endpoint_may_answer(bench: Bench, fault: Fault, outcome: Outcome) -> None:
    came = await bench.allowed()
    bench.double.faults.append(fault)
    assert await bench.accounts.finish("whoop", **came) is outcome
    assert bench.books.saved == {}
    assert await bench.accounts.finish("whoop", **came) is Outcome.NOT_KNOWN


async def test_after_failures_in_a_row_the_vendor_is_left_alone(bench: Bench) -> None:
    for _ in range(5):
        came = await bench.allowed()
        bench.double.faults.append(Fault(500, path="/oauth/token"))
        assert await bench.accounts.finish("whoop", **came) is Outcome.VENDOR_AWAY
    asked = bench.double.asked()
    assert await bench.finish() is Outcome.AWAY
    assert bench.double.asked() == asked


async def test_a_code_with_another_verifier_is_refused(bench: Bench) -> None:
    came, other = await bench.allowed(), await bench.allowed()
    assert await bench.accounts.finish("whoop", **(came | {"code": other["code"]})) is Outcome.REFUSED


async def test_what_is_too_long_asks_nobody(bench: Bench) -> None:
    assert await bench.accounts.finish("whoop", "s" * (LONGEST + 1), "c", "") is Outcome.NOT_KNOWN
    came = await bench.allowed()
    assert await bench.accounts.finish("whoop", came["state"], "c" * (LONGEST + 1), "") is Outcome.REFUSED
    assert bench.double.forms == []


async def test_who_declines_uses_up_the_state(bench: Bench) -> None:
    came = await bench.allowed(person=None)
    assert await bench.accounts.finish("whoop", **came) is Outcome.DECLINED
    assert bench.books.begun == {}


@pytest.mark.parametrize(
    ("provider", "failure", "outcome", "revoked"),
    [
        ("oura", TakenError("taken"), Outcome.TAKEN, True),
        ("whoop", TakenError("taken"), Outcome.TAKEN, False),  # it would end what the other person uses
        ("oura", GoneError(unused=False), Outcome.GONE, True),
        ("whoop", GoneError(unused=False), Outcome.GONE, False),
        ("whoop", GoneError(unused=True), Outcome.GONE, True),
        ("oura", UnavailableError("database", "lost"), Outcome.AWAY, False),  # it may have been saved
    ],
)
async def test_a_grant_that_is_not_used_is_ended_unless_others_would_end_with_it(
    bench: Bench, provider: str, failure: Exception, outcome: Outcome, revoked: bool
) -> None:
    bench.books.fails = failure
    assert await bench.finish(provider) is outcome
    assert bool(bench.double.logins.revoked) == revoked


async def test_the_account_that_another_one_replaces_is_ended(bench: Bench) -> None:
    access, refresh = bench.double.connect("455")
    bench.books.former = Tokens(access, refresh, None, (), NOON)
    assert await bench.finish() is Outcome.CONNECTED
    assert bench.double.logins.revoked == ["455"]


async def test_disconnecting_says_what_the_vendor_did(bench: Bench) -> None:
    assert await bench.accounts.end("whoop", USER) == Disconnected(0, None)
    await bench.finish()
    assert await bench.accounts.end("whoop", USER) == Disconnected(1, True)
    await bench.finish()
    bench.double.faults.append(Fault(403, path="/v2/user/access"))
    assert await bench.accounts.end("whoop", USER) == Disconnected(1, False, ("the vendor answered 403",))
    assert bench.books.saved == {}


async def test_a_vendor_is_told_first_where_what_it_is_told_with_must_not_be_lost(bench: Bench) -> None:
    await bench.finish()
    bench.double.faults.append(Fault(403, path="/v2/user/access"))
    assert await bench.accounts.end_there("whoop", USER) == ("the vendor answered 403",)
    assert bench.books.saved
    assert await bench.accounts.end_there("whoop", USER) == ()
    assert bench.double.logins.revoked == ["456"]
    await bench.accounts.end_here("whoop", USER)
    assert bench.books.saved == {}
    assert bench.double.logins.revoked == ["456"]


async def test_of_terras_connections_each_is_ended(bench: Bench) -> None:
    bench.double.logins.terras = {"t-2"}
    assert await bench.accounts.end("terra", USER) == Disconnected(2, True)
    bench.double.faults += [Fault(500), Fault(500)]
    assert await bench.accounts.end("terra", USER) == Disconnected(2, False, ("answered 500",))


async def test_without_its_credentials_terra_is_not_asked_to_end_anything(bench: Bench) -> None:
    (bench.folder / "terra" / "api-key").unlink()
    assert await bench.accounts.end("terra", USER) == Disconnected(2, False, ("no credentials",))
    assert bench.double.requests == []


async def test_terras_widget_is_begun_with_our_id(bench: Bench) -> None:
    assert await bench.accounts.begin("terra", USER) == WIDGET_URL
    (asked,) = bench.double.logins.sessions
    assert asked["reference_id"] == USER
    assert asked["auth_success_redirect_url"] == f"{URL}/connect/terra/callback"
    assert await bench.accounts.finish("terra", "", "", "") is Outcome.AWAITED
    assert await bench.accounts.finish("terra", "", "", "failed") is Outcome.DECLINED


@pytest.mark.parametrize(
    "fault", [Fault(410), Fault(401), Fault(200, body=b"[]"), Fault(200, body=b'{"url": "javascript:alert(1)"}')]
)
async def test_a_widget_without_an_address_sends_nobody_anywhere(bench: Bench, fault: Fault) -> None:
    bench.double.faults.append(fault)
    with pytest.raises(UnusableError):
        await bench.accounts.begin("terra", USER)
    bench.double.faults.append(Fault(429))
    with pytest.raises(RetryLaterError):
        await bench.accounts.begin("terra", USER)


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, public_url="")
    (tmp_path / "whoop" / "client-secret").unlink()
    with pytest.raises(MissingError) as missing:
        await bench.accounts.begin("whoop", USER)
    assert missing.value.names == ("AUREN_PUBLIC_URL", "client-secret")
    assert bench.books.begun == {}
    for provider in ("healthkit", "fitbit", ""):
        with pytest.raises(UnknownProviderError):
            await bench.accounts.begin(provider, USER)


class Text(HTMLParser):
    """What a reader of a page hears, and which elements it has."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_page_can_be_heard_and_runs_nothing(outcome: Outcome) -> None:
    page = html(PAGES[outcome])
    parser = Text()
    parser.feed(page)
    names = [name for name, _ in parser.elements]
    assert dict(parser.elements)["html"] == {"lang": "en"}
    assert {"title", "main", "h1", "p"} <= set(names)
    assert not {"script", "img", "iframe", "form", "a", "link"} & set(names)
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in HEADERS["Content-Security-Policy"]


async def test_the_routes_are_told_of_and_tell_the_truth(bench: Bench) -> None:
    app = create_app("bridge", SETTINGS, Health("bridge"), bench.metrics)
    app.include_router(router(verifier(), bench.accounts))
    person = {"Authorization": f"Bearer {token('connect:providers', USER)}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert set(paths) == {"/connect", "/connect/{provider}", "/connect/{provider}/callback"}
        for operations in paths.values():
            for operation in operations.values():
                assert operation["summary"]
                assert len(operation["description"]) > 20
        came = await bench.allowed()
        page = await client.get("/connect/whoop/callback", params=came)
        assert page.status_code == 200
        assert str(page.status_code) in paths["/connect/{provider}/callback"]["get"]["responses"]
        assert (await client.get("/connect", headers=person)).json()["connections"][0]["provider"] == "whoop"
        assert (await client.delete("/connect/whoop", headers=person)).json() == {
            "provider": "whoop",
            "ended": 1,
            "revoked": True,
            "trouble": [],
        }
        bench.double.faults.append(Fault(503, {"Retry-After": "17"}))
        begun = await client.get("/connect/oura", headers=person)
        assert (begun.status_code, begun.headers["cache-control"]) == (200, "no-store")
        refused = await client.get("/connect/terra", headers=person)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "17")
        bench.double.faults.append(Fault(410))
        refused = await client.get("/connect/terra", headers=person)
        assert (refused.status_code, refused.json()["type"]) == (502, "urn:auren:problem:vendor")
        for status in ("502", "503"):
            assert status in paths["/connect/{provider}"]["get"]["responses"]
    assert USER not in json.dumps(paths)
