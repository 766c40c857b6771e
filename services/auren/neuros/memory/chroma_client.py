"""Chroma's client and the one collection.

This module imports `chromadb`, which takes half a second: load it in a thread.
"""

from __future__ import annotations

import json
from typing import Any, Final

import chromadb
import chromadb.errors
import httpx
from chromadb.config import Settings

from auren.settings import ChromaSettings

AWAY: Final[tuple[type[Exception], ...]] = (httpx.HTTPError, chromadb.errors.ChromaError, OSError, json.JSONDecodeError)
"""What the client raises when the server is away, refuses, or is no Chroma."""

COLLECTION: Final = "memories"
HEARTBEAT_SECONDS: Final = 1.5


async def heartbeat(settings: ChromaSettings) -> None:
    """Ask whether the server is there. Raises httpx.HTTPError.

    A client that is made while it is not stays in the library's registry for good, so the server is asked before.
    """
    url = f"http://{settings.chroma_host}:{settings.chroma_port}/api/v2/heartbeat"
    # Plain HTTP inside the cluster: no certificates to load, and no proxy.
    async with httpx.AsyncClient(timeout=HEARTBEAT_SECONDS, trust_env=False, verify=False) as client:
        (await client.get(url)).raise_for_status()


async def connect(settings: ChromaSettings) -> Any:
    """A client without telemetry for the default tenant and database. Raises one of AWAY."""
    await heartbeat(settings)
    return await chromadb.AsyncHttpClient(
        host=settings.chroma_host, port=settings.chroma_port, settings=Settings(anonymized_telemetry=False)
    )


async def collection(client: Any, metadata: dict[str, Any]) -> Any:
    """The collection; made with `metadata` where there is none yet. Raises one of AWAY."""
    try:
        return await client.get_collection(COLLECTION, embedding_function=None)
    except chromadb.errors.NotFoundError:
        # Where another replica is quicker, its collection is the answer.
        return await client.get_or_create_collection(
            COLLECTION,
            embedding_function=None,
            metadata=metadata,
            configuration={"hnsw": {"space": "cosine"}},
        )


async def close(client: Any) -> None:
    """Close the connections of this process."""
    await client._server._cleanup()
