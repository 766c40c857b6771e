"""NEUROS with a language model that a test scripts: how it is started, asked and listened to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.api import stores
from tests.api.services.platform import Platform, Service
from tests.unit.services.model_double import KEY, MODEL, Answer, ModelDouble

USER = "neuros-advanced"
CHAT = "chat:neuros"

Event = tuple[str, dict[str, Any]]
"""Of a stream: its name and its data."""


def start(
    platform: Platform,
    chroma: stores.Chroma,
    model: ModelDouble,
    api: str = "responses",
    key: str | None = KEY,
    **environment: str,
) -> Service:
    """NEUROS that asks this model through one of the two APIs; it listens, and may not be ready yet."""
    return platform.service(
        "auren.neuros",
        user=USER,
        secret_files={"auren_llm_api_key": key} if key else None,
        environment={
            "AUREN_CHROMA_HOST": chroma.host,
            "AUREN_CHROMA_PORT": str(chroma.port),
            "AUREN_LLM_MODE": "openai",
            "AUREN_LLM_API": api,
            "AUREN_LLM_MODEL": MODEL,
            "AUREN_LLM_BASE_URL": model.base_url,
            **environment,
        },
    )


def scripted(model: ModelDouble, *answers: Answer) -> ModelDouble:
    """The double, which has forgotten everything but these answers."""
    model.reset()
    model.answer = lambda _: Answer()
    model.script.extend(answers)
    return model


async def ask(platform: Platform, neuros: Service, user: str, message: str, **question: Any) -> dict[str, Any]:
    """The whole answer to a message."""
    async with httpx.AsyncClient(timeout=90) as client:
        answer = await client.post(
            neuros.url("/api/agents/neuros/analyze"),
            json={"message": message, **question},
            headers=platform.bearer(user, CHAT),
        )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@asynccontextmanager
async def streaming(
    platform: Platform, neuros: Service, user: str, message: str, **question: Any
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of an answer as they come; whoever leaves the block has gone away."""
    async with (
        httpx.AsyncClient(timeout=90) as client,
        client.stream(
            "POST",
            neuros.url("/api/agents/neuros/stream"),
            json={"message": message, **question},
            headers=platform.bearer(user, CHAT),
        ) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer.aiter_lines())


async def streamed(platform: Platform, neuros: Service, user: str, message: str, **question: Any) -> list[Event]:
    """All events of an answer."""
    async with streaming(platform, neuros, user, message, **question) as events:
        return [event async for event in events]


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    kind = ""
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def socket(
    platform: Platform, neuros: Service, user: str, session: str = "s1", *, token: str | None = None, **more: Any
) -> connect:
    """A socket to talk on."""
    offered = [Subprotocol("bearer"), Subprotocol(platform.token(user, CHAT) if token is None else token)]
    url = f"ws://127.0.0.1:{neuros.port}/ws/{session}"
    return connect(url, subprotocols=offered, open_timeout=60, **more)


async def frame(talking: ClientConnection) -> dict[str, Any]:
    """The next frame."""
    async with asyncio.timeout(90):
        found: dict[str, Any] = json.loads(await talking.recv())
    return found


async def said(talking: ClientConnection, message: object) -> list[dict[str, Any]]:
    """Send a message, and all frames up to the one that ends its turn."""
    await talking.send(message if isinstance(message, str | bytes) else json.dumps(message))
    frames = [await frame(talking)]
    while frames[-1]["type"] not in {"reply", "error"}:
        frames.append(await frame(talking))
    return frames
