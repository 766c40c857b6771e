"""What is forgotten with time, by one replica: sessions of which nothing was heard for long, superseded states of the
others, and interventions of more than a year ago.

So is what is left of erased people: a crash may have left it, or they were erased while NEUROS was switched off.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

from auren.background import Background
from auren.link import UnavailableError
from auren.neuros.agent import Agent
from auren.neuros.interventions.store import Store
from auren.neuros.settings import NeurosSettings
from auren.telemetry import Metrics, logger

FIRST_SECONDS: Final = 60.0
AT_ONCE: Final = 1000
"""Sessions of one statement; a round goes on until there are fewer."""

INTERVENTION_DAYS: Final = 365
PERIOD_SECONDS: Final = 3600.0
LOCK: Final = 4_158_201_762
"""Advisory lock of the replica that is at it."""

_LOCK = "SELECT pg_try_advisory_lock(%s) AS held"
_UNLOCK = "SELECT pg_advisory_unlock(%s)"
_OLD = """
SELECT thread_id FROM checkpoints GROUP BY thread_id
HAVING max((checkpoint->>'ts')::timestamptz) < now() - make_interval(days => %s)
    OR split_part(thread_id, '/', 1) IN (SELECT user_id FROM public.erased_users) LIMIT %s
"""
_SUPERSEDED = """
DELETE FROM checkpoints c WHERE (c.checkpoint->>'ts')::timestamptz < now() - interval '1 hour' AND EXISTS (
    SELECT FROM checkpoints newer WHERE newer.thread_id = c.thread_id AND newer.checkpoint_ns = c.checkpoint_ns
    AND newer.checkpoint_id > c.checkpoint_id
)
"""
_UNUSED = """
DELETE FROM checkpoint_blobs b WHERE NOT EXISTS (
    SELECT FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
    AND (c.checkpoint->'channel_versions'->>b.channel = b.version
         OR (c.checkpoint->>'ts')::timestamptz > now() - interval '1 hour')
)
"""
# A turn that is being kept writes blobs before its checkpoint, all within seconds: sessions of the last hour are left.

_log = logger(__name__)


class Pruning:
    """The part of the service that forgets sessions."""

    def __init__(self, settings: NeurosSettings, agent: Agent, interventions: Store, metrics: Metrics) -> None:
        """The agent has the sessions."""
        self._interventions = interventions
        self._days = settings.session_days
        self._agent = agent
        self._forgotten = metrics.counter("sessions_forgotten", "Sessions of which nothing was heard for long")
        self._task = Background("session-pruning", self._work)

    async def start(self) -> None:
        """Begin, a minute from now."""
        self._task.start()

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def once(self) -> int:
        """One round; how many sessions it has forgotten, 0 if another replica is at it. Raises UnavailableError."""
        async with self._agent.connection() as connection:
            found = await connection.execute(_LOCK, (LOCK,))
            if not (await found.fetchone())["held"]:
                return 0
            try:
                await self._interventions.prune(INTERVENTION_DAYS)
                forgotten = await self._sessions(connection)
                await connection.execute(_SUPERSEDED)
                await connection.execute(_UNUSED)
            finally:
                await connection.execute(_UNLOCK, (LOCK,))
        return forgotten

    async def _sessions(self, connection: Any) -> int:
        forgotten = 0
        while True:
            old = await connection.execute(_OLD, (self._days, AT_ONCE))
            threads = [row["thread_id"] for row in await old.fetchall()]
            for table in ("checkpoint_writes", "checkpoint_blobs", "checkpoints"):
                await connection.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", (threads,))
            self._forgotten.inc(len(threads))
            forgotten += len(threads)
            if len(threads) < AT_ONCE:
                return forgotten

    async def _work(self) -> None:
        await asyncio.sleep(FIRST_SECONDS * random.uniform(1, 2))
        while True:
            try:
                await self.once()
            except UnavailableError as error:
                _log.warning("sessions are not pruned", reason=error.reason)
            await asyncio.sleep(PERIOD_SECONDS)
