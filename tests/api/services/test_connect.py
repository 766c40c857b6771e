"""People connect and disconnect: `serve` as a process, PostgreSQL as in a stack, the vendors' doubles behind HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from auren import events
from auren.bridge.chores.housekeeping import ExpiredStates
from auren.bridge.connect.books import Books, GoneError
from auren.bridge.tokens import TokenBox, Tokens, TokenStore
from auren.topics import EVENTS
from tests.api.processes import Servers
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.vendor_api import PUBLIC_URL, ROLE, VendorApi, VendorApis, bridge_database, whoop_signed
from tests.api.services.waiting import until
from tests.unit.services.vendor_documents import whoop_notice, whoop_sleep
from tests.unit.services.vendor_double import Fault
from tests.unit.services.vendor_logins import API_KEY, DEV_ID, WIDGET_PATH, WIDGET_URL

SCOPE = "connect:providers"
PERSON = {"oura": ("/v2/usercollection/personal_info", "id"), "whoop": ("/v2/user/profile/basic", "user_id")}


@dataclass
class Desk:
    """The bridge, the vendors, and what people do with both."""

    platform: Platform
    bridge: Service
    vendors: VendorApis
    terra: VendorApi

    def begin(self, provider: str, user: str) -> str:
        """The address for the person's browser."""
        answer = self.bridge.get(f"/connect/{provider}", self.platform.bearer(user, SCOPE))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["url"])

    def log_in(self, provider: str, url: str, vendors_id: str | int | None) -> str:
        """The person allows it at the vendor, or declines without an id; the callback's path that comes of it."""
        double = self.vendors.of(provider).double
        double.logins.person = None if vendors_id is None else str(vendors_id)
        if vendors_id is not None:
            path, member = PERSON[provider]
            double.documents[str(vendors_id), path] = {member: vendors_id, "email": "anna@example.org"}
        back = httpx.get(url).headers["location"]
        assert back.startswith(f"{PUBLIC_URL}/connect/{provider}/callback?")
        return str(back.removeprefix(PUBLIC_URL))

    def connect(self, provider: str, user: str, vendors_id: str | int) -> httpx.Response:
        """The whole way."""
        return self.bridge.get(self.log_in(provider, self.begin(provider, user), vendors_id))

    def disconnect(self, provider: str, user: str) -> dict[str, Any]:
        """What is answered."""
        headers = self.platform.bearer(user, SCOPE)
        answer = httpx.delete(self.bridge.url(f"/connect/{provider}"), headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def connected(self, user: str) -> list[dict[str, Any]]:
        """As the person is told."""
        found: list[dict[str, Any]] = self.bridge.get("/connect", self.platform.bearer(user, SCOPE)).json()[
            "connections"
        ]
        return found

    async def tokens(self, provider: str, user: str) -> Tokens | None:
        """Those in the table."""
        async with bridge_database(self.platform) as database:
            return await TokenStore(database, TokenBox(self.platform.oauth_keyring)).load(provider, user)

    async def holds(self, words: str) -> list[str]:
        """The tables that hold `words`, as text or as bytes."""
        found = []
        for table in ("connections", "oauth_tokens", "oauth_states", "parked_deliveries"):
            statement = f"SELECT FROM {table} t WHERE strpos(t::text, $1) > 0 OR strpos(t::text, $2) > 0"
            if await self.sql(statement, words, words.encode().hex()):
                found.append(table)
        return found

    async def sql(self, statement: str, *arguments: object) -> list[Any]:
        """Rows as the superuser sees them."""
        return await query(self.platform, statement, *arguments)


@pytest.fixture(scope="module")
def running(prepared_platform: Platform) -> Iterator[Desk]:
    """One bridge for all tests here."""
    with Servers("connect") as servers, VendorApis(servers.folder / "providers") as vendors:
        prepared_platform.servers = servers
        terra = VendorApi()
        secret = servers.folder / "providers" / "terra"
        secret.mkdir()
        (secret / "dev-id").write_text(DEV_ID)
        (secret / "api-key").write_text(API_KEY)
        terra.start()
        environment = vendors.environment | {
            "AUREN_OURA_AUTHORIZE_URL": f"{vendors.oura.url}/oauth/authorize",
            "AUREN_OURA_REVOKE_URL": f"{vendors.oura.url}/oauth/revoke",
            "AUREN_WHOOP_AUTHORIZE_URL": f"{vendors.whoop.url}/oauth/authorize",
            "AUREN_TERRA_API_URL": terra.url,
            "AUREN_TERRA_WIDGET_URL": f"{terra.url}{WIDGET_PATH}",
        }
        bridge = prepared_platform.service("auren.bridge", "serve", user=ROLE, environment=environment)
        yield Desk(prepared_platform, bridge, vendors, terra)
        terra.stop()


@pytest.fixture
def desk(running: Desk, platform: Platform) -> Desk:
    """All of them ready."""
    running.bridge.wait_ready()
    return running


def state_of(path: str) -> str:
    return parse_qs(urlsplit(path).query)["state"][0]


@pytest.mark.parametrize(("provider", "vendors_id"), [("oura", "o-anna"), ("whoop", 4711)])
async def test_who_allows_it_is_connected_and_only_ciphertext_is_kept(
    desk: Desk, provider: str, vendors_id: str | int
) -> None:
    user = new_user()
    url = desk.begin(provider, user)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked["redirect_uri"] == f"{PUBLIC_URL}/connect/{provider}/callback"
    assert ("code_challenge" in asked) == (provider == "whoop")
    (kept,) = await desk.sql("SELECT state_hash, verifier FROM oauth_states WHERE user_id = $1", user)
    assert kept["state_hash"] == hashlib.sha256(asked["state"].encode()).digest()
    assert (kept["verifier"] is not None) == (provider == "whoop")

    back = desk.log_in(provider, url, vendors_id)
    page = desk.bridge.get(back)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]

    grant = desk.vendors.of(provider).double.grants[-1]
    tokens = await desk.tokens(provider, user)
    assert tokens is not None
    assert (tokens.access, tokens.refresh, set(tokens.scopes)) == (grant.access, grant.refresh, set(grant.scopes))
    (known,) = await desk.sql("SELECT * FROM connections WHERE user_id = $1", user)
    assert (known["provider"], known["provider_user_id"]) == (provider, str(vendors_id))
    (told,) = desk.connected(user)
    assert (told["provider"], told["tokens"], set(told["scopes"])) == (provider, True, set(grant.scopes))

    code = parse_qs(urlsplit(back).query)["code"][0]
    assert grant.refresh is not None
    for secret in (code, asked["state"], grant.access, grant.refresh, user, "anna@example.org"):
        assert secret not in page.text
        assert secret not in desk.bridge.server.log.read_text()
        assert await desk.holds(secret) == (["connections", "oauth_tokens"] if secret == user else [])


async def test_what_a_vendor_names_of_who_has_connected_is_fetched_with_their_tokens(desk: Desk) -> None:
    user, vendors_id, double = new_user(), secrets.randbelow(2**31), desk.vendors.whoop.double
    assert desk.connect("whoop", user, vendors_id).status_code == 200
    saved = await desk.tokens("whoop", user)
    desk.platform.stop_collectors()
    collector = desk.platform.service("auren.bridge", "collect", user=ROLE, environment=desk.vendors.environment)
    collector.wait_ready()

    async def fetched() -> bool:
        records = await desk.platform.records(EVENTS, user, 0)
        found = [events.decode(record.value or b"") for record in records]
        return {event.document_id for event in found if event.kind == "sleep"} == nights

    async def night_is_an_event() -> None:
        sleep = str(uuid.uuid4())
        double.documents[str(vendors_id), f"/v2/activity/sleep/{sleep}"] = whoop_sleep(id=sleep, user_id=vendors_id)
        notice = whoop_notice(user_id=vendors_id, id=sleep, type="sleep.updated")
        desk.bridge.post("/webhooks/whoop", *whoop_signed(notice)).raise_for_status()
        nights.add(f"sleep/{sleep}")
        await until(fetched)

    nights: set[str] = set()
    await night_is_an_event()
    assert await desk.tokens("whoop", user) == saved, "the access token of the login was good"
    double.end_access(str(vendors_id))
    await night_is_an_event()
    refreshed = await desk.tokens("whoop", user)
    assert saved is not None
    assert refreshed is not None
    assert refreshed.refresh != saved.refresh, "so was its refresh token, which works once"
    for secret in (saved.access, saved.refresh, refreshed.access, refreshed.refresh, user, str(vendors_id)):
        assert secret is not None
        assert secret not in collector.server.log.read_text()


async def test_a_state_works_once(desk: Desk) -> None:
    user = new_user()
    back = desk.log_in("whoop", desk.begin("whoop", user), 4712)
    assert desk.bridge.get(back).status_code == 200
    before = await desk.tokens("whoop", user)
    replay = desk.log_in(
        "whoop",
        f"{desk.vendors.whoop.url}/oauth/authorize?response_type=code&client_id=c&scope=a"
        f"&redirect_uri={PUBLIC_URL}/connect/whoop/callback&state={state_of(back)}",
        4713,
    )
    again = desk.bridge.get(replay)
    assert again.status_code == 400
    assert "has been used" in again.text
    assert await desk.tokens("whoop", user) == before


async def test_a_state_belongs_to_its_provider_and_is_known(desk: Desk) -> None:
    back = desk.log_in("whoop", desk.begin("whoop", new_user()), 4714)
    assert desk.bridge.get(back.replace("/whoop/", "/oura/")).status_code == 400
    assert desk.bridge.get("/connect/whoop/callback?code=c&state=guessed").status_code == 400
    assert desk.bridge.get("/connect/whoop/callback?code=c").status_code == 400
    assert desk.bridge.get("/connect/whoop/callback?state=%00%ff&code=c").status_code == 400
    assert desk.bridge.get(back).status_code == 200


async def test_a_state_ends(desk: Desk) -> None:
    user = new_user()
    url = desk.begin("whoop", user)
    state = parse_qs(urlsplit(url).query)["state"][0]
    hashed = hashlib.sha256(state.encode()).digest()
    await desk.sql("DELETE FROM oauth_states WHERE state_hash = $1", hashed)
    await desk.sql("INSERT INTO oauth_states VALUES ($1, 'whoop', $2, NULL, now() - interval '1 second')", hashed, user)
    asked = desk.vendors.whoop.double.asked()["/oauth/token"]
    assert desk.bridge.get(desk.log_in("whoop", url, 4715)).status_code == 400
    assert desk.vendors.whoop.double.asked()["/oauth/token"] == asked
    assert desk.connected(user) == []


async def test_of_many_callbacks_with_one_state_one_connects(desk: Desk) -> None:
    user = new_user()
    back = desk.log_in("oura", desk.begin("oura", user), "o-many")
    async with httpx.AsyncClient(timeout=60) as client:
        pages = await asyncio.gather(*(client.get(desk.bridge.url(back)) for _ in range(12)))
    assert sorted(page.status_code for page in pages) == [200] + 11 * [400]
    assert len(desk.connected(user)) == 1


async def test_of_what_a_person_begins_at_once_one_state_is_left(desk: Desk) -> None:
    user = new_user()
    headers = desk.platform.bearer(user, SCOPE)
    async with httpx.AsyncClient(timeout=60) as client:
        answers = await asyncio.gather(
            *(client.get(desk.bridge.url("/connect/whoop"), headers=headers) for _ in range(20))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len(await desk.sql("SELECT FROM oauth_states WHERE user_id = $1", user)) == 1


async def test_who_declines_is_not_connected(desk: Desk) -> None:
    user = new_user()
    back = desk.log_in("oura", desk.begin("oura", user), None)
    page = desk.bridge.get(back)
    assert page.status_code == 400
    assert "did not give its permission" in page.text
    assert "access_denied" not in page.text
    assert desk.connected(user) == []
    assert desk.bridge.get(back.replace("error=", "code=")).status_code == 400


async def test_an_account_of_somebody_else_is_not_taken_over(desk: Desk) -> None:
    anna, ben = new_user(), new_user()
    assert desk.connect("oura", anna, "o-shared").status_code == 200
    double = desk.vendors.oura.double
    of_anna = double.grants[-1]
    page = desk.connect("oura", ben, "o-shared")
    assert page.status_code == 409
    assert desk.connected(ben) == []
    assert await desk.tokens("oura", ben) is None
    assert [grant for grant in double.grants if grant.person == "o-shared"] == [of_anna]
    assert len(desk.connected(anna)) == 1


async def test_two_people_with_one_account_at_once(desk: Desk) -> None:
    anna, ben = new_user(), new_user()
    backs = [desk.log_in("oura", desk.begin("oura", user), "o-race") for user in (anna, ben)]
    async with httpx.AsyncClient(timeout=60) as client:
        pages = await asyncio.gather(*(client.get(desk.bridge.url(back)) for back in backs))
    assert sorted(page.status_code for page in pages) == [200, 409]
    for user in (anna, ben):
        assert len(desk.connected(user)) == (await desk.tokens("oura", user) is not None)


@pytest.mark.parametrize(("provider", "vendors_id"), [("oura", "o-leaves"), ("whoop", 4720)])
async def test_who_disconnects_is_disconnected_here_and_there(desk: Desk, provider: str, vendors_id: str | int) -> None:
    user = new_user()
    assert desk.connect(provider, user, vendors_id).status_code == 200
    assert desk.disconnect(provider, user) == {"provider": provider, "ended": 1, "revoked": True, "trouble": []}
    assert desk.vendors.of(provider).double.logins.revoked[-1] == str(vendors_id)
    assert await desk.tokens(provider, user) is None
    assert desk.connected(user) == []
    assert desk.disconnect(provider, user) == {"provider": provider, "ended": 0, "revoked": None, "trouble": []}
    assert desk.connect(provider, user, vendors_id).status_code == 200
    assert len(desk.connected(user)) == 1


async def test_an_ended_access_token_is_refreshed_to_revoke(desk: Desk) -> None:
    user = new_user()
    assert desk.connect("whoop", user, 4721).status_code == 200
    desk.vendors.whoop.double.end_access("4721")
    assert desk.disconnect("whoop", user)["revoked"] is True
    assert desk.vendors.whoop.double.logins.revoked[-1] == "4721"


async def test_what_kept_the_vendor_from_revoking_is_told(desk: Desk) -> None:
    user = new_user()
    assert desk.connect("whoop", user, 4722).status_code == 200
    desk.vendors.whoop.double.faults.append(Fault(503, path="/v2/user/access"))
    answer = desk.disconnect("whoop", user)
    assert (answer["ended"], answer["revoked"], answer["trouble"]) == (1, False, ["answered 503"])
    assert await desk.tokens("whoop", user) is None


async def test_who_disconnects_while_the_vendor_is_asked_stays_disconnected(desk: Desk) -> None:
    user = new_user()
    double = desk.vendors.whoop.double
    answers: list[dict[str, Any]] = []
    back = desk.log_in("whoop", desk.begin("whoop", user), 4723)
    double.logins.meanwhile = lambda: answers.append(desk.disconnect("whoop", user))
    try:
        assert desk.bridge.get(back).status_code == 410
    finally:
        double.logins.meanwhile = lambda: None
    assert [answer["ended"] for answer in answers] == [0]
    assert desk.connected(user) == []
    assert await desk.tokens("whoop", user) is None
    assert double.logins.revoked[-1] == "4723"


async def test_a_login_that_was_begun_anew_ends_and_leaves_what_is_used(desk: Desk) -> None:
    user = new_user()
    assert desk.connect("whoop", user, 4728).status_code == 200
    double, before = desk.vendors.whoop.double, await desk.tokens("whoop", user)
    urls: list[str] = []
    revoked = list(double.logins.revoked)
    back = desk.log_in("whoop", desk.begin("whoop", user), 4728)
    double.logins.meanwhile = lambda: urls.append(desk.begin("whoop", user))
    try:
        assert desk.bridge.get(back).status_code == 410
    finally:
        double.logins.meanwhile = lambda: None
    assert await desk.tokens("whoop", user) == before
    assert double.logins.revoked == revoked


async def test_who_was_erased_since_the_login_began_is_not_connected(desk: Desk) -> None:
    user = new_user()
    back = desk.log_in("whoop", desk.begin("whoop", user), 4724)
    await desk.sql("INSERT INTO erased_users VALUES ($1, now())", user)
    assert desk.bridge.get(back).status_code == 410
    assert await desk.tokens("whoop", user) is None
    assert await desk.sql("SELECT FROM connections WHERE user_id = $1", user) == []
    assert desk.vendors.whoop.double.logins.revoked[-1] == "4724"


async def test_another_account_of_the_same_person_takes_the_place_of_the_first(desk: Desk) -> None:
    user = new_user()
    assert desk.connect("whoop", user, 4725).status_code == 200
    assert desk.connect("whoop", user, 4726).status_code == 200
    rows = await desk.sql(
        "SELECT provider_user_id FROM connections WHERE user_id = $1 AND disconnected_at IS NULL", user
    )
    assert [row["provider_user_id"] for row in rows] == ["4726"]
    assert desk.vendors.whoop.double.logins.revoked[-1] == "4725"


async def test_a_vendor_that_is_away_connects_nobody(desk: Desk) -> None:
    user = new_user()
    for path in ("/oauth/token", PERSON["oura"][0]):
        back = desk.log_in("oura", desk.begin("oura", user), "o-away")
        desk.vendors.oura.double.faults.append(Fault(503, path=path))
        assert desk.bridge.get(back).status_code == 502
        assert await desk.tokens("oura", user) is None
        assert desk.connected(user) == []
    assert desk.connect("oura", user, "o-away").status_code == 200


async def test_terras_widget_knows_our_user_and_its_connections_are_ended(desk: Desk) -> None:
    user = new_user()
    assert desk.begin("terra", user) == WIDGET_URL
    assert desk.terra.double.logins.sessions[-1]["reference_id"] == user
    desk.terra.double.logins.terras |= {"t-1", "t-2"}
    for terras_id in ("t-1", "t-2"):
        await desk.sql("INSERT INTO connections VALUES ('terra', $1, $2, DEFAULT, now())", f"{terras_id}", user)
    assert [told["tokens"] for told in desk.connected(user)] == [False, False]
    assert desk.disconnect("terra", user) == {"provider": "terra", "ended": 2, "revoked": True, "trouble": []}
    assert desk.terra.double.logins.revoked[-2:] == ["t-1", "t-2"]


async def test_who_may_ask(desk: Desk) -> None:
    def status(method: str, path: str, headers: dict[str, str]) -> int:
        return httpx.request(method, desk.bridge.url(path), headers=headers).status_code

    user = new_user()
    for method, path in (("GET", "/connect"), ("GET", "/connect/whoop"), ("DELETE", "/connect/whoop")):
        assert status(method, path, {}) == 401
        assert status(method, path, desk.platform.bearer(user, "push:healthkit")) == 403
    for provider in ("healthkit", "fitbit"):
        answer = desk.bridge.get(f"/connect/{provider}", desk.platform.bearer(user, SCOPE))
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:auren:problem:unknown-provider")
        assert ("phones push" in answer.text) == (provider == "healthkit")
        assert desk.bridge.get(f"/connect/{provider}/callback?state=s&code=c").status_code == 404


async def test_missing_settings_are_named(desk: Desk) -> None:
    bare = desk.platform.service("auren.bridge", "serve", user=ROLE)
    bare.wait_ready()
    headers = desk.platform.bearer(new_user(), SCOPE)
    for provider, missing in (("whoop", ("AUREN_PUBLIC_URL", "client-id", "client-secret")), ("terra", ("dev-id",))):
        answer = bare.get(f"/connect/{provider}", headers)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:auren:problem:not-configured")
        assert all(name in answer.json()["detail"] for name in missing)


async def test_without_the_database_nobody_begins_and_a_login_can_be_repeated(desk: Desk) -> None:
    user = new_user()
    back = desk.log_in("oura", desk.begin("oura", user), "o-database")
    desk.platform.postgres.server.stop()
    headers = desk.platform.bearer(user, SCOPE)

    async def away() -> bool:
        return (await asyncio.to_thread(desk.bridge.get, "/connect/oura", headers)).status_code == 503

    await until(away)
    assert desk.bridge.get(back).status_code == 503
    desk.platform.postgres.server.start()
    desk.bridge.wait_ready()
    assert desk.bridge.get(back).status_code == 200
    assert len(desk.connected(user)) == 1


async def test_neither_connection_nor_tokens_stay_alone_whoever_is_first(desk: Desk) -> None:
    box, now = TokenBox(desk.platform.oauth_keyring), datetime.now(UTC)
    tokens = Tokens("access", "refresh", None, (), now)

    async def log_in(books: Books, user: str, vendors_id: str) -> None:
        state = f"state-of-{user}-{vendors_id}"
        await books.begin(state, "whoop", user, None, now)
        begun = await books.take(state, "whoop", now)
        if begun is not None:
            with suppress(GoneError):
                await books.save("whoop", vendors_id, begun, tokens, datetime.now(UTC))

    async with bridge_database(desk.platform) as first, bridge_database(desk.platform) as second:
        one, two = Books(first, box), Books(second, box)
        for _ in range(40):
            user = new_user()
            await log_in(one, user, f"x-{user}")
            await asyncio.gather(
                log_in(one, user, f"x-{user}"),
                two.end("whoop", user, datetime.now(UTC)),
                log_in(two, user, f"y-{user}"),
            )
            connected = "SELECT FROM connections WHERE user_id = $1 AND disconnected_at IS NULL"
            kept = "SELECT FROM oauth_tokens WHERE user_id = $1"
            assert len(await desk.sql(connected, user)) == len(await desk.sql(kept, user))


async def test_who_begins_and_who_removes_old_states_do_not_wait_for_each_other(desk: Desk) -> None:
    many = (
        "INSERT INTO oauth_states SELECT sha256(($1 || n)::bytea), 'whoop', $1 || (n % 20), NULL, "
        "now() - interval '1 hour' FROM generate_series(1, 2000) n"
    )
    async with bridge_database(desk.platform) as first, bridge_database(desk.platform) as second:
        books, chore = Books(first, TokenBox(desk.platform.oauth_keyring)), ExpiredStates(second)
        for _ in range(10):
            user = new_user()
            await desk.sql(many, user)
            logins = (books.begin(f"{user}-{n}", "whoop", f"{user}{n}", None, datetime.now(UTC)) for n in range(3))
            await asyncio.gather(*logins, chore.run(), chore.run())
