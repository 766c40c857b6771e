"""The real local model: a process with the package's server and weights, asked as NEUROS asks it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import httpx
import jsonschema  # type: ignore[import-untyped]  # published without types
import pytest
from openai import AsyncOpenAI

from auren.local_model.server import MODEL
from tests.api.places import REPOSITORY
from tests.api.processes import Server, Servers, free_port

START_SECONDS: Final = 180
"""Bounds for a machine that does much else; alone it takes two seconds."""
REPLY_SECONDS: Final = 240

WEIGHTS: Final = "gemma-3-270m-q4_k_m.gguf"

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sentences", "recommendations"],
    "properties": {
        "sentences": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {"type": "string", "minLength": 1, "maxLength": 40},
        },
        "recommendations": {"type": "array", "maxItems": 1, "items": {"type": "string", "maxLength": 20}},
    },
}
QUESTION: Final[dict[str, Any]] = {
    "model": MODEL,
    "max_tokens": 200,
    "temperature": 0,
    "messages": [
        {"role": "system", "content": "You are a companion. You speak of sleep in plain words."},
        {"role": "user", "content": "How do I sleep better?"},
    ],
    "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server, once it answers. Its home does not exist: nothing may be kept or looked for there."""
    port = free_port()
    with Servers("local-model") as servers:
        weights = servers.folder / "weights"
        weights.mkdir()
        environment = {
            "PYTHONPATH": str(REPOSITORY / "services"),
            "HOME": "/nonexistent",
            "AUREN_HOST": "127.0.0.1",
            "AUREN_PORT": str(port),
            "AUREN_LOCAL_MODEL_DIR": str(weights),
        }
        server = Server(
            name="local-model",
            command=[sys.executable, "-m", "auren.local_model"],
            log=servers.folder / "log",
            ready=lambda: is_healthy(port),
            environment=environment,
            ready_seconds=START_SECONDS,
        )
        servers.add(server).start()
        yield server
        assert [file.name for file in weights.iterdir()] == [WEIGHTS]
        server.terminate()
        assert server.wait_ended(START_SECONDS) == 0


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture
def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.environment['AUREN_PORT']}"


@pytest.fixture
def client(address: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=REPLY_SECONDS)


@pytest.mark.timeout(REPLY_SECONDS + START_SECONDS)
async def test_a_reply_has_the_form_that_was_asked_for(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**QUESTION)
    assert reply.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(reply.choices[0].message.content or ""), SCHEMA)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 20
    assert reply.usage.completion_tokens > 5


@pytest.mark.timeout(REPLY_SECONDS + START_SECONDS)
async def test_a_stream_comes_in_pieces_and_tells_what_it_took(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**QUESTION, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(pieces) > 5
    jsonschema.validate(json.loads("".join(pieces)), SCHEMA)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens >= len(pieces)


async def test_it_shows_nobody_what_others_ask(address: str) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=REPLY_SECONDS) as http:
        answers = {path: (await http.get(path)).status_code for path in ("/slots", "/metrics", "/", "/tools")}
        assert answers == {"/slots": 501, "/metrics": 501, "/": 404, "/tools": 403}
        answer = await http.get("/health", headers={"Origin": "https://elsewhere.example.com"})
        assert answer.headers.get("access-control-allow-origin") in {None, ""}
