"""Vectors from a server that speaks OpenAI's embeddings API.

This module imports the `openai` SDK, which takes a second: load it in a thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import openai

from auren.link import UnavailableError
from auren.neuros.memory.embedder import Vector
from auren.neuros.memory.settings import EmbeddingSettings

TIMEOUT_SECONDS: Final = 5.0
BATCH: Final = 100
NO_KEY: Final = "none"
"""The SDK wants a key also for servers that ask for none."""


class OpenAiEmbedder:
    """Asks a server, once each time: a memory without a vector gets it later, a recall goes on without."""

    relevant: float = 0.3

    def __init__(self, settings: EmbeddingSettings, http: openai.DefaultAsyncHttpxClient | None = None) -> None:
        """Nothing is connected before the first text; `http` None is a client of the SDK's own."""
        self.dimension = settings.dimension
        self.name = f"openai:{settings.embeddings_model}"
        self._model = settings.embeddings_model
        self._client = openai.AsyncOpenAI(
            api_key=settings.llm_api_key.get_secret_value() if settings.llm_api_key else NO_KEY,
            base_url=settings.embeddings_base_url or None,
            timeout=TIMEOUT_SECONDS,
            max_retries=0,
            http_client=http,
        )

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text, in their order. Raises UnavailableError, also for vectors of another dimension."""
        found: list[Vector] = []
        for first in range(0, len(texts), BATCH):
            found += await self._batch(list(texts[first : first + BATCH]))
        return found

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _batch(self, texts: list[str]) -> list[Vector]:
        try:
            answer = await self._client.embeddings.create(model=self._model, input=texts, encoding_format="float")
            entries = sorted(answer.data, key=lambda entry: entry.index)
            vectors = [[float(number) for number in entry.embedding] for entry in entries]
        except openai.OpenAIError as error:
            raise UnavailableError("embeddings", type(error).__name__) from error
        except (AttributeError, TypeError, ValueError) as error:
            # The SDK takes what comes for what it should be.
            raise UnavailableError("embeddings", "the answer is none of the embeddings API") from error
        if len(vectors) != len(texts):
            raise UnavailableError("embeddings", f"{len(vectors)} vectors came for {len(texts)} texts")
        return [self._checked(vector) for vector in vectors]

    def _checked(self, vector: list[float]) -> Vector:
        if len(vector) != self.dimension:
            raise UnavailableError(
                "embeddings",
                f"{self._model} gives {len(vector)} numbers and {self.dimension} are expected: "
                f"set AUREN_EMBEDDINGS_DIMENSION={len(vector)} or another model",
            )
        length = math.sqrt(sum(number * number for number in vector))
        if not math.isfinite(length) or length < 1e-9:
            raise UnavailableError("embeddings", f"{self._model} gives a vector without a direction")
        return [number / length for number in vector]
