"""Talking with NEUROS as it answers: server-sent events and sockets, with a model that writes slowly or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from auren.modes import Mode
from auren.neuros.guard.emergencies import TEXTS
from auren.neuros.interventions.records import intervention_id
from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.talking import (
    CHAT,
    ask,
    frame,
    said,
    scripted,
    socket,
    start,
    streamed,
    streaming,
)
from tests.api.services.test_interventions import opted_in, send, switch
from tests.api.services.waiting import until
from tests.unit.services.model_double import MODEL, Answer, ModelDouble, reply_text

FIRST, SECOND = "Today looks steady.", "Keep the evening calm and quiet."
REPLY = reply_text(FIRST, SECOND)
HELD = Answer(REPLY, hold_after=REPLY.index(SECOND))
"""An answer whose first sentence is there, and whose second one waits."""

ASKED = "How am I doing?"


@pytest.fixture(scope="module", params=["responses", "chat"])
def shared(
    prepared_platform: Platform, chroma: stores.Chroma, model: ModelDouble, request: pytest.FixtureRequest
) -> Iterator[Service]:
    """NEUROS that asks the model through one of its two APIs."""
    with Servers("talk") as servers:
        prepared_platform.servers = servers
        patient = {"AUREN_LLM_TIMEOUT_SECONDS": "300", "AUREN_INTERVENTIONS_COOLDOWN_SECONDS": "0"}
        yield start(prepared_platform, chroma, model, request.param, **patient)


@pytest.fixture
def neuros(shared: Service, platform: Platform, model: ModelDouble) -> Service:
    """It has all it needs, and the model nothing but its standard answer."""
    shared.server.start()
    shared.wait_ready()
    scripted(model)
    return shared


def shape(value: Any) -> Any:
    """What a document is made of, without its values."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name != "timings"}
    return [shape(one) for one in value[:1]] if isinstance(value, list) else type(value)


async def test_a_sentence_is_told_while_the_model_still_writes(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    scripted(model, HELD)
    async with streaming(platform, neuros, user, ASKED, session_id="s1") as events:
        kind, mode = await anext(events)
        assert (kind, mode["mode"], mode["evidence"]) == ("mode", "baseline", [])
        assert await anext(events) == ("sentence", {"text": FIRST})
        await model.held()
        model.release()
        assert await anext(events) == ("sentence", {"text": SECOND})
        kind, done = await anext(events)
        assert kind == "done"
        assert await anext(events, None) is None
    assert (done["response"], done["model"], done["session_id"]) == (f"{FIRST} {SECOND}", MODEL, "s1")
    assert model.calls == 1
    scripted(model, Answer(REPLY))
    whole = await ask(platform, neuros, user, ASKED, session_id="s1")
    assert shape(done) == shape(whole)
    assert done["timings"].keys() == whole["timings"].keys()


async def test_who_leaves_does_not_leave_the_model_writing(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    scripted(model, HELD)
    async with streaming(platform, neuros, user, ASKED) as events:
        assert [(await anext(events))[0] for _ in range(2)] == ["mode", "sentence"]
        await model.held()
    await model.left()
    scripted(model, HELD)
    async with socket(platform, neuros, user) as talking:
        await talking.send(json.dumps({"message": ASKED}))
        assert [(await frame(talking))["type"] for _ in range(2)] == ["mode", "sentence"]
        await model.held()
    await model.left()
    scripted(model)
    assert (await ask(platform, neuros, user, ASKED))["model"] == MODEL
    assert "never retrieved" not in neuros.server.log.read_text()


async def test_a_greeting_an_emergency_and_a_wrong_question_as_events(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    greeted = await streamed(platform, neuros, user, "hello")
    assert next(kind for kind, _ in greeted) == "mode"
    assert [kind for kind, _ in greeted][-1] == "done"
    told = [data["text"] for kind, data in greeted if kind == "sentence"]
    assert " ".join(told) == greeted[-1][1]["response"]
    urgent = await streamed(platform, neuros, user, "I have chest pain")
    assert [kind for kind, _ in urgent] == ["sentence", "done"]
    assert urgent[0][1]["text"] == TEXTS["chest", "en"] == urgent[1][1]["response"]
    refused = neuros.post("/api/agents/neuros/stream", {"message": ""}, platform.bearer(user, CHAT))
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert model.calls == 0


async def test_a_socket_tells_mode_sentences_and_reply_and_survives_a_bad_frame(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    scripted(model, HELD)
    async with socket(platform, neuros, user) as talking:
        assert talking.subprotocol == "bearer"
        await talking.send(json.dumps({"message": ASKED}))
        frames = [await frame(talking) for _ in range(2)]
        await model.held()
        model.release()
        frames += [await frame(talking) for _ in range(2)]
        assert [one["type"] for one in frames] == ["mode", "sentence", "sentence", "reply"]
        assert frames[-1]["response"] == f"{FIRST} {SECOND}"
        assert frames[-1]["session_id"] == "s1"
        for bad, status in (
            ("no json", 422),
            ("[]", 422),
            ({"message": ""}, 422),
            ({"message": "hi", "user": "anna"}, 422),
            ({"message": "hi", "session_id": "s2"}, 422),
            (b"bytes", 422),
            ({"message": "x" * 40_000}, 413),
        ):
            (error,) = await said(talking, bad)
            assert (error["type"], error["status"]) == ("error", status), bad
        assert (await said(talking, {"message": "hello"}))[-1]["response"].startswith("Hello again.")
        both = [json.dumps({"message": "hello"}), json.dumps({"message": "I have chest pain"})]
        for message in both:
            await talking.send(message)
        replies: list[dict[str, Any]] = []
        while len(replies) < len(both):
            found = await frame(talking)
            replies += [found] if found["type"] == "reply" else []
        assert [one["mode"] for one in replies] == ["companion", None]
        assert "auren_neuros_chat_sockets 1.0" in neuros.metrics()
    assert model.calls == 1


async def test_who_asks_too_often_is_told_when_to_come_back(
    platform: Platform, chroma: stores.Chroma, model: ModelDouble
) -> None:
    slow = start(platform, chroma, model, AUREN_RATE_LIMIT_PER_MINUTE="3")
    slow.wait_ready()
    async with socket(platform, slow, new_user()) as talking:
        frames = [(await said(talking, {"message": "hello"}))[-1] for _ in range(4)]
        assert [one["type"] for one in frames[:2]] == ["reply", "reply"]  # the handshake was the first
        assert (frames[-1]["type"], frames[-1]["status"]) == ("error", 429)
        assert 1 <= frames[-1]["retry_after"] <= 60
        assert (await said(talking, {"message": "hello"}))[-1]["status"] == 429  # it is still open


async def closed(talking: ClientConnection) -> int | None:
    """Read to the end; the code that the server closed with."""
    async with asyncio.timeout(120):
        try:
            while True:
                await talking.recv()
        except websockets.ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else None


async def test_a_socket_ends_with_its_token_also_within_a_reply(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    scripted(model, HELD)
    short = platform.token(user, CHAT, ttl_seconds=-20)  # clocks differ: it passes for ten seconds more
    async with socket(platform, neuros, user, token=short) as talking:
        await talking.send(json.dumps({"message": ASKED}))
        await model.held()
        assert await closed(talking) == 4401
    await model.left()


async def test_a_revoked_token_ends_the_socket_before_it_tells_anything_more(
    platform: Platform, neuros: Service
) -> None:
    user = opted_in(platform, neuros)
    tokens = [platform.token(user, CHAT) for _ in range(2)]
    async with (
        socket(platform, neuros, user, token=tokens[0]) as asking,
        socket(platform, neuros, user, token=tokens[1]) as waiting,
    ):
        assert (await said(asking, {"message": "hello"}))[-1]["type"] == "reply"
        for token in tokens:
            claims = jwt.decode(token, options={"verify_signature": False})
            await query(platform, "INSERT INTO revoked_tokens (jti) VALUES ($1)", claims["jti"])
        refused = platform.bearer(user, CHAT) | {"Authorization": f"Bearer {tokens[0]}"}

        async def known() -> bool:
            return neuros.get("/preferences", refused).status_code == 401

        await until(known)
        await asking.send(json.dumps({"message": "hello"}))
        assert await closed(asking) == 4401
        await send(platform, switch(user))
        with pytest.raises(websockets.ConnectionClosed) as found:
            await frame(waiting)
        assert found.value.rcvd is not None
        assert found.value.rcvd.code == 4401


async def test_both_sockets_of_a_person_are_told_and_who_comes_back_gets_what_waits(
    platform: Platform, neuros: Service
) -> None:
    user, other = opted_in(platform, neuros), opted_in(platform, neuros)
    one = switch(user)
    wanted = str(intervention_id(one.switch_id))
    async with (
        socket(platform, neuros, user) as first,
        socket(platform, neuros, user, "s2") as second,
        socket(platform, neuros, other) as stranger,
    ):
        await send(platform, one)
        for talking in (first, second):
            told = await frame(talking)
            assert (told["type"], told["id"], told["mode"]) == ("intervention", wanted, "reflex")
            assert told["protocol"] == "breathing-4-7-8"
            assert "user_id" not in told
        assert next(one["type"] for one in await said(stranger, {"message": "hello"})) == "mode"
    later = switch(user, Mode.SENTINEL, Mode.REFLEX)
    await send(platform, later)

    async def offered() -> bool:
        return len(neuros.get("/interventions", platform.bearer(user, CHAT)).json()["interventions"]) == 2

    await until(offered)
    async with socket(platform, neuros, user) as back:
        assert [(await frame(back))["id"] for _ in range(2)] == [wanted, str(intervention_id(later.switch_id))]
        done = {"outcome": "done"}
        neuros.post(f"/interventions/{wanted}/acknowledge", done, platform.bearer(user, CHAT)).raise_for_status()
    async with socket(platform, neuros, user) as back:
        assert (await frame(back))["id"] == str(intervention_id(later.switch_id))
