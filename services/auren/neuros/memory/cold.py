"""The cold tier: one Chroma collection for everybody, in which nobody is reached without their id in the filter.

The server knows no authentication and no rows of one's own, so it is done here, and twice: each `get`, `query` and
`delete` has a filter for the person, made here of a text and nothing else, and what comes back is looked at again.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from auren.health import UnhealthyError
from auren.link import Link, UnavailableError, describe
from auren.neuros.memory.items import Memory
from auren.neuros.memory.rules import COLD_MOST
from auren.settings import ChromaSettings
from auren.telemetry import Metrics, logger

if TYPE_CHECKING:
    from types import ModuleType

    from auren.neuros.memory.embedder import Embedder, Vector

T = TypeVar("T")

RECALL_SECONDS: Final = 1.0
WRITE_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 10.0
MOST_READ: Final = 2 * COLD_MOST
"""More than a person has."""

_log = logger(__name__)


class Cold:
    """Memories as vectors. While Chroma is away every call raises UnavailableError at once.

    Where the collection holds vectors of another embedder nothing is written or compared; it is still told and erased.
    """

    def __init__(self, settings: ChromaSettings, metrics: Metrics) -> None:
        """`metrics` gets a count of foreign results, which must stay at zero."""
        self._settings = settings
        self._embedder: Embedder | None = None
        self._chroma: ModuleType | None = None
        self._client: Any = None
        self._fault: str | None = None
        self.link: Link[Any] = Link("chroma", self._connect, _keep_open)
        self._foreign = metrics.counter("memory_foreign_results", "Results of another person that Chroma returned")

    async def start(self, embedder: Embedder) -> None:
        """Begin to connect in the background; the collection must hold vectors of this embedder."""
        self._embedder = embedder
        await self.link.start()

    async def stop(self) -> None:
        """Close the connections."""
        await self.link.stop()
        if self._chroma is not None and self._client is not None:
            await self._chroma.close(self._client)

    async def check(self) -> None:
        """For the health report: the collection is ours, and the server answers its heartbeat."""
        await self.link.check()
        if self._fault is not None:
            await self._look_again()
        assert self._chroma is not None
        try:
            await self._chroma.heartbeat(self._settings)
        except self._chroma.AWAY as error:
            raise UnhealthyError(describe(error)) from error

    async def _look_again(self) -> None:
        """A collection that somebody has deleted is made anew. Raises UnhealthyError while it is there."""
        try:
            await self.size()
        except UnavailableError as error:
            raise UnhealthyError(error.reason) from error
        raise UnhealthyError(self._fault or "")

    async def put(self, user_id: str, memories: Sequence[Memory], vectors: Sequence[Vector]) -> None:
        """Write a person's memories, in place of those with the same ids. Raises UnavailableError."""
        self._comparable()
        await self._ask(
            lambda collection: collection.upsert(
                ids=[_id(user_id, memory.id) for memory in memories],
                embeddings=[list(vector) for vector in vectors],
                metadatas=[_metadata(user_id, memory) for memory in memories],
                documents=[memory.text for memory in memories],
            )
        )

    async def nearest(self, user_id: str, vector: Vector, most: int) -> list[Memory]:
        """A person's memories nearest to a vector, with their relevance. Raises UnavailableError."""
        self._comparable()
        found = await self._ask(
            lambda collection: collection.query(
                query_embeddings=[list(vector)],
                n_results=most,
                where=_only(user_id),
                include=["metadatas", "documents", "distances"],
            ),
            RECALL_SECONDS,
        )
        texts, metadatas, distances = (found[part][0] for part in ("documents", "metadatas", "distances"))
        return self._theirs(user_id, texts, metadatas, [1.0 - distance for distance in distances])

    async def of(self, user_id: str, ids: Sequence[str] | None = None) -> list[Memory]:
        """A person's memories, or those of them with these ids. Raises UnavailableError."""
        found = await self._ask(
            lambda collection: collection.get(
                ids=None if ids is None else [_id(user_id, one) for one in ids],
                where=_only(user_id),
                limit=MOST_READ,
                include=["metadatas", "documents"],
            )
        )
        return self._theirs(user_id, found["documents"], found["metadatas"])

    async def used(self, user_id: str, memories: Sequence[Memory]) -> None:
        """Write what is known of the use of memories; those that are gone meanwhile stay gone."""
        await self._ask(
            lambda collection: collection.update(
                ids=[_id(user_id, memory.id) for memory in memories],
                metadatas=[_metadata(user_id, memory) for memory in memories],
            )
        )

    async def remove(self, user_id: str, ids: Sequence[str]) -> int:
        """Delete some of a person's memories; how many there were. Raises UnavailableError."""
        if not ids:
            return 0
        named = [_id(user_id, one) for one in ids]
        answer = await self._ask(lambda collection: collection.delete(ids=named, where=_only(user_id)))
        return int(answer["deleted"])

    async def erase(self, user_id: str) -> int:
        """Delete all of a person's memories; how many there were. Raises UnavailableError."""
        answer = await self._ask(lambda collection: collection.delete(where=_only(user_id)))
        return int(answer["deleted"])

    async def size(self) -> int:
        """How many memories there are of everybody. Raises UnavailableError."""
        return int(await self._ask(lambda collection: collection.count()))

    async def _ask(self, ask: Callable[[Any], Awaitable[T]], seconds: float = WRITE_SECONDS) -> T:
        """Ask the collection. After a failure it is opened anew first, so a server that hangs costs one wait."""
        collection = self.link.client
        try:
            async with asyncio.timeout(seconds):
                return await ask(collection)
        except TimeoutError as error:
            raise self._lost(collection, f"no answer within {seconds:.0f} s") from error
        except self._away() as error:
            raise self._lost(collection, describe(error)) from error

    def _lost(self, collection: Any, reason: str) -> UnavailableError:
        self.link.lost(collection, reason)
        return UnavailableError("chroma", reason)

    def _comparable(self) -> None:
        """Raises UnavailableError where the collection holds vectors of another embedder."""
        if self._fault is not None:
            raise UnavailableError("chroma", self._fault)

    def _away(self) -> tuple[type[Exception], ...]:
        away: tuple[type[Exception], ...] = self._chroma.AWAY if self._chroma is not None else ()
        return away

    def _theirs(
        self,
        user_id: str,
        texts: Sequence[str],
        metadatas: Sequence[Mapping[str, Any]],
        near: Sequence[float | None] | None = None,
    ) -> list[Memory]:
        """What came back as memories, without what is not of this person."""
        found: list[Memory] = []
        unknown: Sequence[float | None] = [None] * len(texts)
        for text, metadata, relevance in zip(texts, metadatas, unknown if near is None else near, strict=True):
            if metadata.get("user_id") == user_id:
                found.append(_memory(text, metadata, relevance))
            else:
                self._foreign.inc()
                _log.error("Chroma returned a memory of somebody else; it was dropped")
        return found

    async def _connect(self) -> Any:
        assert self._embedder is not None
        if self._chroma is None:
            self._chroma = await asyncio.to_thread(importlib.import_module, "auren.neuros.memory.chroma_client")
            gc.freeze()  # the library stays: no full collection need walk through it
        chroma = self._chroma
        wanted = {"embedder": self._embedder.name, "dimension": self._embedder.dimension}
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._client is None:
                    self._client = await chroma.connect(self._settings)
                collection = await chroma.collection(self._client, wanted)
        except chroma.AWAY as error:
            raise ConnectionError(0, describe(error)) from error
        self._fault = _fault(collection.metadata or {}, wanted)
        if self._fault is not None:
            _log.error("long-term memory is off", reason=self._fault)
        return collection


def _fault(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """What to do about a collection whose vectors are another embedder's: two such vectors cannot be compared."""
    if all(found.get(name) == value for name, value in wanted.items()):
        return None
    return (
        f"the collection of memories was made with embedder {found.get('embedder')!r} of dimension "
        f"{found.get('dimension')!r}, and {wanted['embedder']!r} of dimension {wanted['dimension']!r} is set: set "
        "AUREN_EMBEDDINGS_MODE, _MODEL and _DIMENSION as they were, or delete the collection with what it remembers; "
        "until then long-term memory is off"
    )


async def _keep_open(_collection: object) -> None:
    """A collection holds nothing open; the client is shared by those that follow."""


def _id(user_id: str, memory_id: str) -> str:
    return f"{user_id}/{memory_id}"


def _only(user_id: str) -> dict[str, Any]:
    """The filter. Raises TypeError for anything but a text, of which an operator could be made."""
    if not isinstance(user_id, str) or not user_id:
        raise TypeError("a user id is a text")
    return {"user_id": {"$eq": user_id}}


def _metadata(user_id: str, memory: Memory) -> dict[str, str | int | float]:
    """What Chroma keeps beside text and vector: scalars, none of them empty."""
    facts: dict[str, Any] = {
        "user_id": user_id,
        "memory_id": memory.id,
        "kind": memory.kind,
        "source": memory.source,
        "confidence": memory.confidence,
        "said_at": memory.said_at.isoformat(),
        "kept_at": memory.kept_at.isoformat(),
        "session": memory.session,
        "protocol": memory.protocol,
        "used": memory.used,
        "last_used_at": memory.last_used_at.isoformat() if memory.last_used_at else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _memory(text: str, metadata: Mapping[str, Any], relevance: float | None) -> Memory:
    used_at = metadata.get("last_used_at")
    return msgspec.convert(
        {
            **{name: value for name, value in metadata.items() if name not in ("user_id", "memory_id")},
            "id": metadata["memory_id"],
            "text": text,
            "said_at": datetime.fromisoformat(metadata["said_at"]),
            "kept_at": datetime.fromisoformat(metadata["kept_at"]),
            "last_used_at": datetime.fromisoformat(used_at) if used_at else None,
            "tier": "cold",
            "relevance": relevance,
        },
        Memory,
    )
