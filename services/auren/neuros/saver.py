"""Where sessions lie, with patience that ends: a store that never answers must not keep a reply back.

This module imports LangGraph, which takes a second: load it in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

SESSION_SECONDS: Final = 2.0
"""How long a session may take to be read, and to be kept."""

CHANNEL: Final = "session"
"""The part of the graph's state that is kept."""


class Bounded(BaseCheckpointSaver[str]):
    """Bounds what a saver does for a turn; raises TimeoutError."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a session's last state."""
        async with asyncio.timeout(SESSION_SECONDS):
            return await super().aget_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a session's state. Of a turn that was broken off nothing is kept, so the session stays as it was.

        LangGraph hands over the state also then; only the last node changes the session.
        """
        if CHANNEL not in new_versions:
            return config
        async with asyncio.timeout(SESSION_SECONDS):
            return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep nothing: what a step wrote is needed where a turn goes on that was broken off, and none does."""


class SessionSaver(Bounded, AsyncPostgresSaver):
    """Sessions in PostgreSQL."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[DictRow]]) -> None:
        """The pool is the caller's.

        The library's saver lets one turn of the whole process at a time reach the server, because it may have been
        given a single connection. A pool gives each turn its own: the pool alone says who waits.
        """
        super().__init__(pool)
        self.lock = nullcontext()  # type: ignore[assignment]
