"""Conversations with the real NEUROS through the biometric service: over HTTP and over a socket, and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.test_neuros import start as start_neuros

USER = "biometric-production"
CHAT = "chat:neuros"
ORIGIN = "https://app.example.org"


@pytest.fixture(scope="module")
def shared(prepared_platform: Platform, chroma: stores.Chroma) -> Iterator[tuple[Service, Service]]:
    """NEUROS, and the biometric service that talks with it."""
    with Servers("chat") as servers:
        prepared_platform.servers = servers
        neuros = start_neuros(prepared_platform, chroma)
        told = {"AUREN_NEUROS_URL": neuros.url(""), "AUREN_CORS_ORIGINS": ORIGIN}
        yield neuros, prepared_platform.service("auren.biometric", user=USER, environment=told)


@pytest.fixture
def neuros(shared: tuple[Service, Service], platform: Platform) -> Service:
    shared[0].server.start()
    shared[0].wait_ready()
    return shared[0]


@pytest.fixture
def service(shared: tuple[Service, Service], platform: Platform) -> Service:
    shared[1].server.start()
    shared[1].wait_ready()
    return shared[1]


def say(platform: Platform, service: Service, user: str, message: str, **more: Any) -> httpx.Response:
    return service.post("/api/chat/neuros", {"message": message, **more}, platform.bearer(user, CHAT))


def history(platform: Platform, service: Service, user: str, session: str, **parameters: int) -> dict[str, Any]:
    answer = httpx.get(
        service.url(f"/api/chat/history/{session}"), params=parameters, headers=platform.bearer(user, CHAT), timeout=30
    )
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def socket(
    platform: Platform, service: Service, user: str, session: str = "s1", *, token: str | None = None, **more: Any
) -> connect:
    offered = [Subprotocol("bearer"), Subprotocol(platform.token(user, CHAT) if token is None else token)]
    url = f"ws://127.0.0.1:{service.port}/ws/chat/{session}"
    return connect(url, subprotocols=offered, open_timeout=20, **more)


async def asked(talking: ClientConnection, message: object) -> dict[str, Any]:
    await talking.send(message if isinstance(message, str) else json.dumps(message))
    found: dict[str, Any] = json.loads(await talking.recv())
    return found


def test_what_is_said_is_answered_and_kept_in_order(platform: Platform, neuros: Service, service: Service) -> None:
    user = new_user()
    first = say(platform, service, user, "hello", session_id="s1")
    assert first.status_code == 200
    assert first.json()["answer"]["session_id"] == first.json()["session_id"] == "s1"
    assert say(platform, service, user, "How am I doing?", session_id="s1").status_code == 200
    kept = history(platform, service, user, "s1")
    assert [message["role"] for message in kept["messages"]] == ["person", "neuros"] * 2
    assert [message["content"] for message in kept["messages"]][::2] == ["hello", "How am I doing?"]
    assert kept["messages"][1]["content"] == first.json()["answer"]["response"]
    assert kept["messages"][1]["detail"]["mode"] == "companion"
    page = history(platform, service, user, "s1", limit=3)
    rest = history(platform, service, user, "s1", after=page["next"])
    assert page["messages"] + rest["messages"] == kept["messages"]
    assert rest["next"] is None
    assert history(platform, service, new_user(), "s1")["messages"] == []


def test_without_neuros_the_answer_says_so_and_what_was_said_is_kept(
    platform: Platform, neuros: Service, service: Service
) -> None:
    user = new_user()
    neuros.server.kill()
    answer = say(platform, service, user, "are you there?", session_id="s2")
    assert answer.status_code == 503
    assert "neuros" in answer.json()["title"]
    assert int(answer.headers["retry-after"]) >= 1
    assert [m["content"] for m in history(platform, service, user, "s2")["messages"]] == ["are you there?"]


@pytest.mark.parametrize("session", ["a/b", "..", "x" * 65, "%00", "a b"])
def test_a_hostile_session_is_refused(platform: Platform, neuros: Service, service: Service, session: str) -> None:
    user = new_user()
    assert say(platform, service, user, "hello", session_id=session).status_code == 422
    path = "/api/chat/history/" + quote(session, safe="")
    answer = httpx.get(service.url(path), headers=platform.bearer(user, CHAT), timeout=30)
    assert answer.status_code in {404, 422}


async def test_nothing_is_kept_of_somebody_who_was_erased(
    platform: Platform, neuros: Service, service: Service
) -> None:
    user = new_user()
    await query(platform, "INSERT INTO erased_users (user_id) VALUES ($1)", user)
    assert say(platform, service, user, "hello").status_code == 410
    assert await query(platform, "SELECT FROM chat_messages WHERE user_id = $1", user) == []


async def test_a_socket_answers_each_message_in_turn(platform: Platform, neuros: Service, service: Service) -> None:
    user = new_user()
    async with socket(platform, service, user, origin=ORIGIN) as talking:
        assert talking.subprotocol == "bearer"
        await talking.send(json.dumps({"message": "hello"}))
        await talking.send(json.dumps({"message": "How am I doing?"}))
        replies = [json.loads(await talking.recv()) for _ in range(2)]
        assert [reply["type"] for reply in replies] == ["reply", "reply"]
        assert replies[0]["reply_id"] < replies[1]["message_id"]
        assert (await asked(talking, "no json"))["status"] == 422
        assert (await asked(talking, {"message": ""}))["detail"] == "message"
        assert (await asked(talking, {"message": "x" * 40_000}))["status"] == 413
        await talking.send(b"bytes")
        assert json.loads(await talking.recv())["status"] == 422
        neuros.server.kill()
        lost = await asked(talking, {"message": "and now?"})
        assert (lost["type"], lost["status"], lost["retry_after"]) == ("error", 503, 5)
        assert "auren_biometric_chat_sockets 1.0" in service.metrics()
    kept = [message["content"] for message in history(platform, service, user, "s1")["messages"]]
    assert kept[::2] == ["hello", "How am I doing?", "and now?"]
    assert user not in service.metrics()
    assert user not in service.server.log.read_text()


async def test_a_socket_needs_a_token_of_ours_and_a_page_that_is_allowed(
    platform: Platform, neuros: Service, service: Service
) -> None:
    user = new_user()
    for refused in (
        socket(platform, service, user, token="no-token"),
        socket(platform, service, user, token=platform.token(user, "read:biometrics")),
        socket(platform, service, user, origin="https://elsewhere.example.org"),
    ):
        with pytest.raises(websockets.InvalidStatus) as found:
            async with refused:
                pass
        assert found.value.response.status_code == 403


async def test_a_socket_ends_with_its_token(platform: Platform, neuros: Service, service: Service) -> None:
    user = new_user()
    short = platform.token(user, CHAT, ttl_seconds=-28)  # it passes for two seconds more: clocks differ
    async with socket(platform, service, user, token=short) as talking:
        with pytest.raises(websockets.ConnectionClosed) as found:
            await talking.recv()
        assert found.value.rcvd is not None
        assert found.value.rcvd.code == 4401
