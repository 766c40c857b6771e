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
        """Keep a session's state."""
        async with asyncio.timeout(SESSION_SECONDS):
            return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a step wrote."""
        async with asyncio.timeout(SESSION_SECONDS):
            await super().aput_writes(config, writes, task_id, task_path)


class SessionSaver(Bounded, AsyncPostgresSaver):
    """Sessions in PostgreSQL."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[DictRow]]) -> None:
        """The pool is the caller's.

        The library's saver lets one turn of the whole process at a time reach the server, because it may have been
        given a single connection. A pool gives each turn its own: the pool alone says who waits.
        """
        super().__init__(pool)
        self.lock = nullcontext()  # type: ignore[assignment]
