"""Conversations without stores: what NEUROS' answers become, what is kept, and what a socket does with its frames."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from pydantic import SecretStr, ValidationError
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from auren import sockets
from auren.auth import Revocations, TooManyError, Verifier, jwks
from auren.biometric.api import chat
from auren.biometric.chats import Chats
from auren.biometric.neuros import Neuros
from auren.biometric.settings import BiometricSettings
from auren.health import Health
from auren.http import authenticated, create_app
from auren.settings import ServiceSettings
from auren.telemetry import Metrics

KEY = ec.generate_private_key(ec.SECP256R1())
ORIGIN = "https://app.example.org"
REPLY = {"response": "Good.", "mode": "companion", "mode_reason": "because", "model": "rules", "session_id": "s1"}
Answering = Callable[[httpx.Request], httpx.Response]


class Table:
    """`chat_messages` as the service uses it, and who was erased."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.erased: set[str] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Table]:
        yield self

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    async def execute(self, *_: Any) -> None: ...

    async def fetchval(self, _statement: str, *row: Any) -> int | None:
        if row[0] in self.erased:
            return None
        self.rows.append(row)
        return len(self.rows)


class Told:
    """NEUROS as a transport: what it was asked, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answer: Answering = lambda _request: httpx.Response(200, json=REPLY)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer(request)


class Counted:
    """A rate limit of so many."""

    def __init__(self) -> None:
        self.left = 100

    async def spend(self, _subject: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooManyError(17)


class World:
    """The routes with doubles behind them; `neuros` None is where it is switched off."""

    def __init__(self, *, with_neuros: bool = True) -> None:
        self.table, self.told, self.limit, self.metrics = Table(), Told(), Counted(), Metrics("test")
        self.revoked: frozenset[str] = frozenset()
        self.revocations = Revocations(self._load)
        settings = ServiceSettings(auth_jwks=SecretStr(json.dumps(jwks(KEY.public_key()))))
        verifier = Verifier(settings, self.revocations, self.limit)
        neuros = Neuros("http://neuros:8000", httpx.MockTransport(self.told)) if with_neuros else None
        chats = Chats(cast(Any, self.table), neuros, self.metrics)
        self.app: FastAPI = create_app("test", settings, Health("test"), self.metrics, (self.revocations,))
        self.app.include_router(chat.routes(authenticated(verifier, "chat:neuros"), verifier, chats, (ORIGIN,)))

    async def _load(self) -> frozenset[str]:
        return self.revoked

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"auren_test_{name}", labels)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with TestClient(world.app, raise_server_exceptions=False) as client:
        wait_until_known(client)
        yield client


def wait_until_known(client: TestClient) -> None:
    """Until the list of revoked tokens was read: the first thing that the background does."""
    while client.get("/api/chat/history/a%20b", headers=bearer()).status_code == 503:
        pass


def token(scope: str = "chat:neuros", *, expires_in: float = 60) -> str:
    claims = {"iss": "auren", "aud": "auren", "sub": "anna", "scope": scope, "jti": "1"}
    return jwt.encode(claims | {"exp": time.time() + expires_in}, KEY, algorithm="ES256")


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {token()}"}


def say(client: TestClient, **body: Any) -> httpx.Response:
    answer: Any = client.post(
        "/api/chat/neuros", json={"message": "hello", "session_id": "s1"} | body, headers=bearer()
    )
    return cast(httpx.Response, answer)


def socket(client: TestClient, told: str | None = None, session: str = "s1", **headers: str) -> WebSocketTestSession:
    offered = ["bearer", token() if told is None else told]
    return client.websocket_connect(f"/ws/chat/{session}", subprotocols=offered, headers=headers)


def test_neuros_is_asked_with_the_callers_own_token_once_the_message_is_kept(client: TestClient, world: World) -> None:
    kept: list[int] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        kept.append(len(world.table.rows))
        return httpx.Response(200, json=REPLY)

    world.told.answer = answer
    found = say(client, context={"feeling": "tired"})
    assert found.status_code == 200
    assert found.json() == {"message_id": 1, "reply_id": 2, "session_id": "s1", "answer": REPLY}
    (asked,) = world.told.asked
    assert asked.url.path == "/api/agents/neuros/analyze"
    assert asked.headers["authorization"].startswith("Bearer ey")
    assert json.loads(asked.content) == {"message": "hello", "session_id": "s1", "context": {"feeling": "tired"}}
    assert kept == [1]
    assert [row[:4] for row in world.table.rows] == [
        ("anna", "s1", "person", "hello"),
        ("anna", "s1", "neuros", "Good."),
    ]
    assert world.count("chat_messages_total", status="200") == 1


def fails(error: Exception) -> Answering:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "status", "kind", "wait"),
    [
        (fails(httpx.ConnectError("refused")), 503, "unavailable", "5"),
        (fails(httpx.ReadTimeout("slow")), 503, "unavailable", "5"),
        (lambda _: httpx.Response(500, json={}), 503, "unavailable", "5"),
        (lambda _: httpx.Response(404, text="<html>"), 503, "unavailable", "5"),
        (lambda _: httpx.Response(302, headers={"Location": "http://elsewhere"}), 503, "unavailable", "5"),
        (lambda _: httpx.Response(200, text="<html>"), 503, "unavailable", "5"),
        (lambda _: httpx.Response(200, json=[]), 503, "unavailable", "5"),
        (lambda _: httpx.Response(200, json={"response": None}), 503, "unavailable", "5"),
        (lambda _: httpx.Response(429, json={}, headers={"Retry-After": "7"}), 429, "too-many", "7"),
        (lambda _: httpx.Response(429, json={}, headers={"Retry-After": "soon"}), 429, "too-many", "5"),
        (lambda _: httpx.Response(401, json={}), 401, "unauthorized", None),
        (lambda _: httpx.Response(403, json={}), 403, "forbidden", None),
        (lambda _: httpx.Response(422, json={"title": "not valid"}), 422, "neuros-refuses", None),
    ],
)
def test_without_an_answer_what_was_said_is_kept(
    client: TestClient, world: World, answer: Answering, status: int, kind: str, wait: str | None
) -> None:
    world.told.answer = answer
    found = say(client)
    assert found.status_code == status
    assert found.json()["type"] == f"urn:auren:problem:{kind}"
    assert found.headers.get("retry-after") == wait
    assert len(world.told.asked) == 1  # nobody else is shown the token, wherever an answer points
    assert [row[2:4] for row in world.table.rows] == [("person", "hello")]
    assert world.count("chat_messages_total", status=str(status)) == 1


def test_nothing_of_an_erased_person_is_kept_or_asked(client: TestClient, world: World) -> None:
    world.table.erased.add("anna")
    assert say(client).status_code == 410
    assert world.told.asked == []


def test_an_answer_that_comes_after_an_erasure_is_not_kept(client: TestClient, world: World) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        world.table.erased.add("anna")
        return httpx.Response(200, json=REPLY)

    world.told.answer = answer
    assert say(client).status_code == 410
    assert [row[2] for row in world.table.rows] == ["person"]


def test_where_neuros_is_switched_off_the_answer_says_so() -> None:
    with TestClient(World(with_neuros=False).app) as client:
        wait_until_known(client)
        found = say(client)
        assert (found.status_code, found.json()["type"]) == (503, "urn:auren:problem:not-configured")
        assert found.headers["retry-after"]


@pytest.mark.parametrize(
    ("url", "wrong"),
    [("http://neuros:8000", False), ("https://neuros", False)]
    + [(url, True) for url in ("neuros:8000", "ftp://neuros", "http://neuros/path", "http://a b", "http://")],
)
def test_an_address_of_neuros_that_is_none_is_refused(url: str, wrong: bool) -> None:
    with pytest.raises(ValidationError) as found:  # the other settings are missing either way
        BiometricSettings.model_validate({"neuros_url": url})
    assert any("neuros_url" in error["loc"] for error in found.value.errors()) == wrong


def test_a_socket_answers_in_turn_and_is_counted(client: TestClient, world: World) -> None:
    with socket(client, Origin=ORIGIN) as talking:
        assert str(talking.accepted_subprotocol) == "bearer"
        assert world.count("chat_sockets") == 1
        talking.send_json({"message": "hello"})
        reply = talking.receive_json()
        assert (reply["type"], reply["message_id"], reply["reply_id"]) == ("reply", 1, 2)
        for frame in ("no json", "[]", '{"message": ""}', '{"message": "a", "more": 1}'):
            talking.send_text(frame)
            assert talking.receive_json()["status"] == 422
        talking.send_bytes(b'{"message": "hello"}')
        assert talking.receive_json()["detail"] == "a frame of text is needed"
        world.told.answer = fails(httpx.ConnectError("refused"))
        talking.send_json({"message": "still there?"})
        lost = talking.receive_json()
        assert (lost["type"], lost["status"], lost["retry_after"]) == ("error", 503, 5)
    assert world.count("chat_sockets") == 0


def test_each_message_of_a_socket_counts_against_the_limit(client: TestClient, world: World) -> None:
    with socket(client) as talking:
        world.limit.left = 1
        talking.send_json({"message": "one"})
        assert talking.receive_json()["type"] == "reply"
        talking.send_json({"message": "two"})
        refused = talking.receive_json()
        assert (refused["type"], refused["status"], refused["retry_after"]) == ("error", 429, 17)
    assert [row[3] for row in world.table.rows] == ["one", "Good."]


def test_a_socket_ends_when_its_token_is_revoked(client: TestClient, world: World) -> None:
    with socket(client) as talking:
        world.revoked = frozenset({"1"})
        assert client.portal is not None
        client.portal.call(world.revocations.refresh)
        talking.send_json({"message": "hello"})
        ended = talking.receive()
    assert (ended["type"], ended["code"]) == ("websocket.close", 4401)
    assert world.table.rows == []


@pytest.mark.parametrize("limit", ["MOST_SOCKETS", "MOST_PER_PERSON"])
def test_more_sockets_than_a_process_or_a_person_may_have_are_told_to_come_later(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(sockets, limit, 1)
    with socket(client):
        with socket(client) as second, pytest.raises(WebSocketDisconnect) as ended:
            second.receive_json()
        assert ended.value.code == 1013
    with socket(client) as third:
        third.send_json({"message": "hello"})
        assert third.receive_json()["type"] == "reply"


@pytest.mark.parametrize(
    ("told", "headers"),
    [
        ("no-token", {}),
        (token("read:biometrics"), {}),
        (token(expires_in=-60), {}),
        (None, {"Origin": "https://elsewhere.example.org"}),
        (None, {"Origin": "null"}),
    ],
    ids=["no token", "another scope", "expired", "another page", "a page without origin"],
)
def test_a_socket_that_may_not_talk_is_not_accepted(
    client: TestClient, told: str | None, headers: dict[str, str]
) -> None:
    with pytest.raises(WebSocketDisconnect) as refused, socket(client, told, **headers):
        pass
    assert refused.value.code == 1000  # which the server answers with 403


def test_a_socket_of_somebody_who_comes_too_often_is_answered_with_the_wait(client: TestClient, world: World) -> None:
    world.limit.left = 0
    with pytest.raises(WebSocketDenialResponse) as refused, socket(client):
        pass
    assert refused.value.status_code == 429
    assert refused.value.headers["retry-after"] == "17"


@pytest.mark.parametrize("session", ["a%20b", "%00", "x" * 65, "a'--", "é"])
def test_a_hostile_session_is_refused_everywhere(client: TestClient, session: str) -> None:
    assert client.get(f"/api/chat/history/{session}", headers=bearer()).status_code == 422
    assert say(client, session_id=session).status_code == 422
    with pytest.raises(WebSocketDisconnect), socket(client, session=session):
        pass
