"""The agent of one process: loads LangGraph behind the listener, keeps sessions, answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg

from auren.background import Background
from auren.health import UnhealthyError
from auren.http import ProblemError
from auren.latest import LatestValues
from auren.link import UnavailableError
from auren.modes import overridden
from auren.neuros.audit import Audit
from auren.neuros.screen import emergency
from auren.neuros.sessions import open_pool, thread_id
from auren.neuros.settings import NeurosSettings
from auren.neuros.turn import SESSION_LOST, Feeling, Reply, Turn
from auren.telemetry import logger

if TYPE_CHECKING:
    from types import ModuleType

    from auren.neuros.graph import Graph

ASK_SECONDS: Final = 2.0
"""How long a reply waits to know whether its person was erased."""

ErasedUsers = Callable[[Sequence[str]], Awaitable[Mapping[str, datetime]]]
"""When users were erased, for those of the given ones who were. Raises UnavailableError."""

Run = Callable[["Graph", Turn, str | None], Awaitable[tuple[Turn, dict[str, float]]]]

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished turn and how long its parts took, in milliseconds."""

    turn: Turn
    timings: dict[str, float]


class Agent:
    """Answers messages. Until LangGraph is loaded, `answer` raises UnavailableError for all but emergencies."""

    def __init__(
        self,
        settings: NeurosSettings,
        latest: LatestValues,
        audit: Audit,
        application: str,
        erased_users: ErasedUsers,
    ) -> None:
        """`settings` are for the sessions' own pool."""
        self._erased_users = erased_users
        self._settings = settings
        self._latest = latest
        self._audit = audit
        self._application = application
        self._loading = Background("agent", self._load, once=True)
        self._reason = "the agent is being loaded"
        self._pool: Any = None
        self._graph: Graph | None = None
        self._forgetful: Graph | None = None
        self._run: Run | None = None

    async def start(self) -> None:
        """Begin to load in the background."""
        self._loading.start()

    async def stop(self) -> None:
        """Close the sessions' pool."""
        await self._loading.stop()
        if self._pool is not None:
            await self._pool.close(timeout=5)

    async def check(self) -> None:
        """For the health report: the graph is there, and sessions can be kept."""
        if self._pool is None or self._run is None:
            raise UnhealthyError(self._reason)
        try:
            async with self._pool.connection() as connection:
                await connection.execute("SELECT v FROM checkpoint_migrations LIMIT 1")
        except psycopg.Error as error:
            raise UnhealthyError(f"sessions cannot be kept ({type(error).__name__})") from error

    async def answer(self, user_id: str, session_id: str, message: str, feeling: Feeling | None) -> Answer:
        """The reply to a message; without its session when that cannot be reached.

        Raises UnavailableError, and ProblemError (410) for somebody who was erased, also meanwhile. An emergency is
        answered before anything else is touched.
        """
        began = time.perf_counter()
        turn = Turn(user_id=user_id, message=message, now=datetime.now(UTC), feeling=feeling)
        if (found := emergency(message)) is not None:
            self._audit.record(user_id, f"emergency.{found.name}", session_id)
            done, timings = replace(turn, emergency=found.name, reply=Reply((found.text,))), dict[str, float]()
        else:
            done, timings = await self._reply(turn, session_id)
        return Answer(done, timings | {"total": round(1000 * (time.perf_counter() - began), 2)})

    async def forget(self, user_id: str) -> int:
        """Erase all sessions of a user; how many there were. Raises UnavailableError."""
        async with self._sessions() as connection:
            threads = await _threads(connection, user_id)
            for table in ("checkpoint_writes", "checkpoint_blobs", "checkpoints"):
                await connection.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", (threads,))
        return len(threads)

    async def sessions(self, user_id: str) -> dict[str, Any]:
        """What is kept of a user's sessions, by session. Raises UnavailableError."""
        async with self._sessions() as connection:
            threads = await _threads(connection, user_id)
        if self._graph is None:
            raise UnavailableError("agent", self._reason)
        try:
            states = {
                thread: await self._graph.aget_state({"configurable": {"thread_id": thread}}) for thread in threads
            }
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise UnavailableError("sessions", type(error).__name__) from error
        return {thread.partition("/")[2]: state.values.get("session", {}) for thread, state in states.items()}

    @asynccontextmanager
    async def _sessions(self) -> AsyncIterator[Any]:
        if self._pool is None:
            raise UnavailableError("agent", self._reason)
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise UnavailableError("sessions", type(error).__name__) from error

    async def _reply(self, turn: Turn, session_id: str) -> tuple[Turn, dict[str, float]]:
        if self._run is None or self._graph is None or self._forgetful is None:
            raise UnavailableError("agent", "it is being loaded")
        if not await self._may_keep(turn.user_id):
            return await self._run(self._forgetful, replace(turn, troubles=(SESSION_LOST,)), None)
        try:
            done = await self._run(self._graph, turn, thread_id(turn.user_id, session_id))
        except (psycopg.Error, OSError, TimeoutError) as error:
            _log.warning("a reply goes without its session", reason=type(error).__name__)
            done = await self._run(self._forgetful, replace(turn, troubles=(SESSION_LOST,)), None)
        await self._forget_if_erased(turn.user_id)
        return done

    async def _may_keep(self, user_id: str) -> bool:
        """Whether a session may be kept: False where it cannot be known. ProblemError for somebody who was erased."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                erased = await self._erased_users([user_id])
        except (UnavailableError, TimeoutError) as error:
            _log.warning("it cannot be known who was erased", reason=type(error).__name__)
            return False
        if erased:
            raise ProblemError(410, "erased", "the person was erased", "nothing of them is kept any more")
        return True

    async def _forget_if_erased(self, user_id: str) -> None:
        """An erasure commits who is erased before it asks for `forget`: one of the two finds what was just kept."""
        try:
            await self._may_keep(user_id)
        except ProblemError:
            await self.forget(user_id)
            raise

    async def _load(self) -> None:
        try:
            graph, saver = await asyncio.to_thread(_import)
            if self._pool is None:
                self._pool = open_pool(self._settings, self._application)
            await self._pool.open(wait=False)
            thresholds = overridden(self._settings.modes)
            self._forgetful = graph.build(self._latest.of, thresholds=thresholds)
            self._graph = graph.build(self._latest.of, saver.SessionSaver(self._pool), thresholds)
            self._run = graph.run
        except Exception as error:
            self._reason = f"the agent cannot be loaded ({type(error).__name__})"
            raise
        _log.info("agent loaded")


async def _threads(connection: Any, user_id: str) -> list[str]:
    """The saver's names of a user's sessions."""
    found = await connection.execute(
        "SELECT DISTINCT thread_id FROM checkpoints WHERE starts_with(thread_id, %s)", (thread_id(user_id, ""),)
    )
    return [row["thread_id"] for row in await found.fetchall()]


def _import() -> tuple[ModuleType, ModuleType]:
    from auren.neuros import graph, saver

    return graph, saver
