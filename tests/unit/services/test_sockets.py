"""Sockets of people beyond a conversation: frames too large, a token that ends, and problems as frames."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from auren import sockets
from auren.auth import TooManyError, UnauthorizedError
from auren.http import ProblemError
from auren.link import UnavailableError
from tests.unit.services.test_chat import World, socket, token, wait_until_known


@pytest.fixture
def world() -> World:
    return World()


def test_a_frame_that_is_too_large_is_refused_and_the_next_is_answered(world: World) -> None:
    with TestClient(world.app) as client:
        wait_until_known(client)
        with socket(client) as talking:
            talking.send_text("é" * (sockets.MOST_FRAME_BYTES // 2 + 1))
            refused = talking.receive_json()
            assert (refused["type"], refused["status"]) == ("error", 413)
            talking.send_json({"message": "hello"})
            assert talking.receive_json()["type"] == "reply"


def test_a_socket_ends_with_its_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while nobody says anything."""
    monkeypatch.setattr(sockets, "LEEWAY_SECONDS", -60)
    with TestClient(world.app) as client:
        wait_until_known(client)
        with socket(client, token(expires_in=60)) as talking:
            assert talking.receive()["code"] == sockets.EXPIRED
        assert world.count("chat_sockets") == 0


@pytest.mark.parametrize(
    "offered", [[], ["bearer"], ["basic", "TOKEN"], ["TOKEN"], ["bearer", "TOKEN", "more"], ["TOKEN", "bearer"]]
)
def test_a_token_is_offered_in_one_way_only(world: World, offered: list[str]) -> None:
    with TestClient(world.app) as client:
        wait_until_known(client)
        said = [token() if part == "TOKEN" else part for part in offered]
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws/chat/s1", subprotocols=said):
            pass
    assert world.count("chat_sockets") == 0


@pytest.mark.parametrize(
    ("error", "frame"),
    [
        (
            ProblemError(413, "too-large", "too large", "at most 3"),
            {"status": 413, "title": "too large", "detail": "at most 3"},
        ),
        (TooManyError(17), {"status": 429, "retry_after": 17}),
        (UnavailableError("database", "away"), {"status": 503, "retry_after": 5}),
        (UnauthorizedError("revoked"), {"status": 401}),
    ],
)
def test_a_problem_as_a_frame(error: Exception, frame: dict[str, object]) -> None:
    found = sockets.error_frame(error)
    assert found is not None
    assert frame.items() <= found.items()
    assert found["type"] == "error"
    assert ("retry_after" in found) == ("retry_after" in frame)


def test_a_defect_is_no_frame() -> None:
    assert sockets.error_frame(ZeroDivisionError("secret")) is None
