"""The agent of one process: loads LangGraph behind the listener, keeps sessions, answers."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg

from auren.background import Background
from auren.health import UnhealthyError
from auren.http import ProblemError
from auren.link import UnavailableError
from auren.neuros.audit import Audit
from auren.neuros.guard.screen import emergency
from auren.neuros.models import LanguageModel
from auren.neuros.nodes import Resources
from auren.neuros.sessions import DURABLE, open_pool, thread_id
from auren.neuros.settings import NeurosSettings
from auren.neuros.turn import SESSION_LOST, Feeling, Reply, Turn
from auren.telemetry import Metrics, logger

if TYPE_CHECKING:
    from types import ModuleType

    from auren.neuros.graph import Ended, Graph

ASK_SECONDS: Final = 2.0
"""How long a reply waits to know whether its person was erased."""

MOST_TURNS: Final = 100
"""Replies that are being made at once. More would all come too late; who is refused at once may try again."""

ErasedUsers = Callable[[Sequence[str]], Awaitable[Mapping[str, datetime]]]
"""When users were erased, for those of the given ones who were. Raises UnavailableError."""

ForgottenAt = Callable[[str], Awaitable[datetime | None]]
"""When a user has had all of theirs forgotten last; None where that was long ago or is not known."""

Run = Callable[["Graph", Turn, str | None], AsyncIterator["Turn | str | Ended"]]

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
        resources: Resources,
        audit: Audit,
        application: str,
        erased_users: ErasedUsers,
        forgotten_at: ForgottenAt,
        metrics: Metrics,
    ) -> None:
        """`settings` are for the sessions' own pool; `metrics` gets the replies."""
        self._erased_users = erased_users
        self._forgotten_at = forgotten_at
        self._settings = settings
        self._resources = resources
        self._audit = audit
        self._application = application
        self._loading = Background("agent", self._load, once=True)
        self._reason = "the agent is being loaded"
        self._pool: Any = None
        self._graph: Graph | None = None
        self._forgetful: Graph | None = None
        self._run: Run | None = None
        self._turns = 0
        self._replies = metrics.counter("replies", "Replies by who wrote them and in which mode", ("by", "mode"))
        self._left_out = metrics.counter("sentences_left_out", "Sentences that may not be said, by why", ("kind",))
        self._seconds = metrics.histogram("reply_seconds", "From a message to its whole reply", ("by",))

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
        """The whole reply to a message; as `stream`."""
        answer: Answer | None = None
        async with aclosing(self.stream(user_id, session_id, message, feeling)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if isinstance(piece, Answer):
                    answer = piece
        if answer is None:
            raise RuntimeError("a stream ends with its answer")
        return answer

    async def stream(
        self, user_id: str, session_id: str, message: str, feeling: Feeling | None
    ) -> AsyncIterator[Turn | str | Answer]:
        """The reply as it is made: the turn once its mode is chosen, each sentence once it may be said, the answer.

        Without its session when that cannot be reached. Raises UnavailableError, and ProblemError (410) for somebody
        who was erased, also meanwhile. An emergency is answered before anything else is touched.
        """
        began = time.perf_counter()
        turn = Turn(user_id, session_id, message, datetime.now(UTC), feeling)
        if (found := emergency(message)) is not None:
            self._audit.record(user_id, f"emergency.{found.name}", session_id)
            turn = replace(turn, emergency=found.name, reply=Reply((found.text,)))
            yield found.text
            yield self._answered(turn, {}, began)
            return
        if self._turns >= MOST_TURNS:
            raise UnavailableError("agent", "too many replies are being made")
        self._turns += 1
        try:
            async with aclosing(self._reply(turn)) as steps:  # type: ignore[type-var]
                async for step in steps:
                    if isinstance(step, Turn | str):
                        yield step
                    else:
                        yield self._answered(step.turn, step.timings, began)
        finally:
            self._turns -= 1

    async def forget(self, user_id: str) -> int:
        """Erase all sessions of a user; how many there were. Raises UnavailableError."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute(DURABLE)
            threads = await _threads(connection, user_id)
            for table in ("checkpoint_writes", "checkpoint_blobs", "checkpoints"):
                await connection.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", (threads,))
        return len(threads)

    async def sessions(self, user_id: str) -> dict[str, Any]:
        """What is kept of a user's sessions, by session. Raises UnavailableError."""
        async with self.connection() as connection:
            threads = await _threads(connection, user_id)
        return {thread.partition("/")[2]: await self._kept(thread) for thread in threads}

    async def session(self, user_id: str, session_id: str) -> dict[str, Any]:
        """What is kept of one session; empty where nothing is. Raises UnavailableError."""
        return await self._kept(thread_id(user_id, session_id))

    async def _kept(self, thread: str) -> dict[str, Any]:
        if self._graph is None:
            raise UnavailableError("agent", self._reason)
        try:
            state = await self._graph.aget_state({"configurable": {"thread_id": thread}})
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise UnavailableError("sessions", type(error).__name__) from error
        kept: dict[str, Any] = state.values.get("session", {})
        return kept

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One to the sessions' tables. Raises UnavailableError, also for what fails on it."""
        if self._pool is None:
            raise UnavailableError("agent", self._reason)
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise UnavailableError("sessions", type(error).__name__) from error

    async def _reply(self, turn: Turn) -> AsyncIterator[Turn | str | Ended]:
        if self._run is None or self._graph is None or self._forgetful is None:
            raise UnavailableError("agent", "it is being loaded")
        without = replace(turn, troubles=(SESSION_LOST,))
        if not await self._may_keep(turn.user_id):
            async for step in self._run(self._forgetful, without, None):
                yield step
            return
        told = False
        try:
            async for step in self._run(self._graph, turn, thread_id(turn.user_id, turn.session_id)):
                if not isinstance(step, Turn | str):
                    await self._forget_if_erased(turn)
                told = True
                yield step
        except (psycopg.Error, OSError, TimeoutError) as error:
            if told:
                raise
            _log.warning("a reply goes without its session", reason=type(error).__name__)
            async for step in self._run(self._forgetful, without, None):
                yield step
            await self._forget_if_erased(turn)

    def _answered(self, turn: Turn, timings: dict[str, float], began: float) -> Answer:
        took = time.perf_counter() - began
        mode = turn.decision.mode.value if turn.decision is not None else "emergency"
        by = turn.reply.by if turn.reply is not None else "nobody"
        self._replies.labels(by, mode).inc()
        self._seconds.labels(by).observe(took)
        for kind, count in turn.faults.items():
            self._left_out.labels(kind).inc(count)
        return Answer(turn, timings | {"total": round(1000 * took, 2)})

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

    async def _forget_if_erased(self, turn: Turn) -> None:
        """An erasure says who is erased before it asks for `forget`: one of the two finds what was just kept.

        So does a person who wants to be forgotten and stays; the turn that began before is then forgotten too.
        """
        try:
            await self._may_keep(turn.user_id)
        except ProblemError:
            await self.forget(turn.user_id)
            raise
        at = await self._forgotten_at(turn.user_id)
        if at is not None and at > turn.now:
            await self.forget(turn.user_id)

    async def _load(self) -> None:
        try:
            graph, saver = await asyncio.to_thread(_import, self._resources)
            if self._pool is None:
                self._pool = open_pool(self._settings, self._application)
            await self._pool.open(wait=False)
            self._forgetful = graph.build(self._resources)
            self._graph = graph.build(self._resources, saver.SessionSaver(self._pool))
            self._run = graph.run
            gc.freeze()  # LangGraph stays; without this each full collection would walk through all of it
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


def _import(resources: Resources) -> tuple[ModuleType, ModuleType]:
    """LangGraph and the model's SDK take seconds; this runs in a thread."""
    from auren.neuros import graph, saver

    if isinstance(resources.model, LanguageModel):
        resources.model.load()
    return graph, saver
