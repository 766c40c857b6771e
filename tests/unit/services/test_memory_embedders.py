"""Embedders: the local one's properties, the one that asks a server, and their settings."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from auren.link import UnavailableError
from auren.neuros.memory import vectors
from auren.neuros.memory.embedder import LocalEmbedder
from auren.neuros.memory.openai_embedder import OpenAiEmbedder
from auren.neuros.memory.settings import EmbeddingSettings

LOCAL = LocalEmbedder(384)
TEXTS = st.text(st.characters(codec=None), max_size=400)


def cosine(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(LOCAL.vector(one), LOCAL.vector(other), strict=True))


# -- local ------------------------------------------------------------------------------------------------------------


@given(TEXTS, st.integers(8, 600))
def test_every_text_has_a_vector_of_length_one(text: str, dimension: int) -> None:
    found = LocalEmbedder(dimension).vector(text)
    assert len(found) == dimension
    assert math.isclose(sum(number * number for number in found), 1, rel_tol=1e-6)


@given(TEXTS)
def test_case_and_the_space_around_do_not_matter(text: str) -> None:
    assert LOCAL.vector(text) == LOCAL.vector(f"  {text}\n")
    assert cosine("I like Running", "i like RUNNING") == pytest.approx(1)


def test_it_is_the_same_in_another_process() -> None:
    program = "from auren.neuros.memory.embedder import LocalEmbedder as L; print(L(384).vector('I work nights'))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(other) == LOCAL.vector("I work nights")


MEMORIES = (
    "I work night shifts in a hospital.",
    "I go running by the river every morning.",
    "Coffee after noon keeps me awake.",
    "My daughter was born in March.",
    "Breathing 4-7-8 lowered my heart rate.",
)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("How do my shifts at night affect me?", 0),
        ("Can I still run this morning?", 1),
        ("Is a coffe fine at noon?", 2),
        ("is it my daughter's birthday?", 3),
        ("should I do the breathing thing again?", 4),
    ],
)
def test_it_finds_what_shares_words_or_their_forms(message: str, wanted: int) -> None:
    near = [cosine(message, memory) for memory in MEMORIES]
    assert near.index(max(near)) == wanted
    assert near[wanted] >= LOCAL.relevant
    assert max(one for n, one in enumerate(near) if n != wanted) < LOCAL.relevant


def test_what_shares_only_small_words_is_not_relevant() -> None:
    for memory in MEMORIES:
        assert cosine("How am I doing, and what should I do about it?", memory) < LOCAL.relevant


# -- as the table holds them ------------------------------------------------------------------------------------------


@given(st.lists(TEXTS, max_size=5), TEXTS)
def test_a_packed_vector_says_nearly_the_same(texts: list[str], message: str) -> None:
    packed = [vectors.pack(LOCAL.vector(text)) for text in texts]
    assert vectors.cosines(LOCAL.vector(message), packed) == pytest.approx(
        [cosine(message, text) for text in texts], abs=2e-3
    )
    for text, one in zip(texts, packed, strict=True):
        assert vectors.unpack(one) == pytest.approx(LOCAL.vector(text), abs=1e-3)


def test_vectors_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        vectors.cosines(LOCAL.vector("a"), [b"\x00\x00"])


# -- a server ---------------------------------------------------------------------------------------------------------


def settings(**facts: Any) -> EmbeddingSettings:
    return EmbeddingSettings.model_validate(
        {"redis_host": "a", "redis_password": "a", "chroma_host": "a", "embeddings_mode": "openai", **facts}
    )


class Server:
    """Answers requests for embeddings, out of order, and keeps them."""

    def __init__(
        self, status: int = 200, dimension: int = 8, fewer: int = 0, *, zero: bool = False, body: bytes | None = None
    ) -> None:
        self.status, self.dimension, self.fewer, self.zero, self.body = status, dimension, fewer, zero, body
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.status != 200:
            return httpx2.Response(self.status, json={"error": {"message": "no"}})
        if self.body is not None:
            return httpx2.Response(200, content=self.body, headers={"content-type": "application/json"})
        texts = json.loads(request.content)["input"]
        data = [
            {"object": "embedding", "index": n, "embedding": self.vector(text)}
            for n, text in enumerate(texts[self.fewer :])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return httpx2.Response(200, json={"object": "list", "data": data[::-1], "model": "m", "usage": usage})

    def vector(self, text: str) -> list[float]:
        first = [0.0, 0.0] if self.zero else [2.0, float(len(text))]
        return first + [0.0] * (self.dimension - 2)


def asking(server: Server, **facts: Any) -> OpenAiEmbedder:
    chosen = settings(
        **{"embeddings_base_url": "http://model:1/v1", "embeddings_model": "m", "embeddings_dimension": 8, **facts}
    )
    return OpenAiEmbedder(chosen, openai.DefaultAsyncHttpxClient(transport=httpx2.MockTransport(server)))


async def test_a_servers_vectors_come_in_order_and_of_length_one() -> None:
    server = Server()
    embedder = asking(server, llm_api_key=SecretStr("a-key"))
    found = await embedder.embed(["x" * n for n in range(1, 151)])
    assert [round(vector[1] / vector[0] * 2) for vector in found] == list(range(1, 151))
    assert all(math.isclose(sum(n * n for n in vector), 1, rel_tol=1e-6) for vector in found)
    assert [len(json.loads(request.content)["input"]) for request in server.requests] == [100, 50]
    assert str(server.requests[0].url) == "http://model:1/v1/embeddings"
    assert server.requests[0].headers["authorization"] == "Bearer a-key"
    assert (embedder.name, embedder.dimension) == ("openai:m", 8)
    await embedder.stop()


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (Server(status=401), "AuthenticationError"),
        (Server(status=429), "RateLimitError"),
        (Server(status=500), "InternalServerError"),
        (Server(dimension=12), "set AUREN_EMBEDDINGS_DIMENSION=12"),
        (Server(zero=True), "without a direction"),
        (Server(fewer=1), "0 vectors came for 1 texts"),
        *(
            (Server(body=body), "none of the embeddings API|APIResponseValidationError")
            for body in (b"{}", b"[]", b"null", b"no", b'{"data": [1]}', b'{"data": [{"index": 0}]}', b'{"data": null}')
        ),
        (Server(body=b'{"data": [{"index": 0, "embedding": ["a"]}]}'), "none of the embeddings API"),
        (Server(body=b'{"data": [{"index": 0, "embedding": [1e999, 0, 0, 0, 0, 0, 0, 0]}]}'), "without a direction"),
    ],
)
async def test_what_is_no_vector_is_unavailable_and_asked_for_once(server: Server, reason: str) -> None:
    with pytest.raises(UnavailableError, match=reason):
        await asking(server).embed(["x"])
    assert len(server.requests) == 1


async def test_a_server_without_a_key_needs_none() -> None:
    assert len(await asking(Server()).embed(["x"])) == 1


# -- settings ---------------------------------------------------------------------------------------------------------


def test_a_dimension_that_nobody_set_is_the_modes_own() -> None:
    assert settings().dimension == 1536
    assert settings(embeddings_mode="local").dimension == 384
    assert settings(embeddings_dimension=1024).dimension == 1024


@pytest.mark.parametrize(
    "wrong", [{"embeddings_mode": "cloud"}, {"embeddings_base_url": "model:1"}, {"embeddings_dimension": 1}]
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_the_room_opens_without_the_libraries_that_take_long() -> None:
    program = "import sys, auren.neuros.memory; print({'numpy', 'chromadb', 'openai', 'httpx'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "set()"
