"""What people and NEUROS say to each other: asked with the person's own token, and kept in `chat_messages`.

A message is kept before NEUROS is asked, so what was said is not lost with an answer that does not come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec

from auren.biometric.neuros import Neuros
from auren.database import Database
from auren.http import ProblemError, problem_of
from auren.telemetry import Metrics

_KEEP = """
INSERT INTO chat_messages (user_id, session_id, role, content, detail)
SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT FROM erased_users WHERE user_id = $1) RETURNING id
"""
_HISTORY = """
SELECT id, at, role, content, detail FROM chat_messages
WHERE user_id = $1 AND session_id = $2 AND id > $3 ORDER BY id LIMIT $4
"""
WHILE_KEEPING: Final = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))"
PERSON: Final = "person"
NEUROS: Final = "neuros"


@dataclass(frozen=True, slots=True)
class Said:
    """NEUROS' answer, and the ids of both messages in the history."""

    message_id: int
    reply_id: int
    answer: dict[str, Any]


class Chats:
    """All conversations; `neuros` is None where it is switched off."""

    def __init__(self, database: Database, neuros: Neuros | None, metrics: Metrics) -> None:
        """Database and NEUROS are owned by the service."""
        self._database = database
        self._neuros = neuros
        self._messages = metrics.counter(
            "chat_messages", "Messages to NEUROS, by the status of their answer", ("status",)
        )
        self.sockets = metrics.gauge("chat_sockets", "Open sockets of conversations")

    async def say(self, user_id: str, question: Mapping[str, Any], authorization: str) -> Said:
        """Ask NEUROS. Raises what `Neuros.analyze` raises, and ProblemError where NEUROS is switched off.

        `question` is what NEUROS' `POST /api/agents/neuros/analyze` takes, with a `session_id`.
        """
        try:
            said = await self._say(user_id, question, authorization)
        except Exception as error:
            found = problem_of(error)
            self._messages.labels(str(found.status if found else 500)).inc()
            raise
        self._messages.labels("200").inc()
        return said

    async def _say(self, user_id: str, question: Mapping[str, Any], authorization: str) -> Said:
        if self._neuros is None:
            raise ProblemError(503, "not-configured", "NEUROS is switched off", headers={"Retry-After": "3600"})
        session = str(question["session_id"])
        message_id = await self._keep(user_id, session, PERSON, str(question["message"]), {})
        answer = await self._neuros.analyze(question, authorization)
        detail = {name: answer.get(name) for name in ("mode", "mode_reason", "model")}
        reply_id = await self._keep(user_id, session, NEUROS, str(answer["response"]), detail)
        return Said(message_id, reply_id, answer)

    async def history(self, user_id: str, session: str, after: int, limit: int) -> list[asyncpg.Record]:
        """At most `limit` messages of a session behind the id `after`, oldest first. Raises UnavailableError."""
        async with self._database.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(_HISTORY, user_id, session, after, limit)
        return rows

    async def _keep(self, user_id: str, session: str, role: str, content: str, detail: Mapping[str, Any]) -> int:
        async with self._database.connection() as connection, connection.transaction():
            # An erasure waits for what is being kept, and what comes later sees it.
            await connection.execute(WHILE_KEEPING, user_id)
            kept: int | None = await connection.fetchval(
                _KEEP, user_id, session, role, content, msgspec.json.encode(detail).decode()
            )
        if kept is None:
            raise ProblemError(410, "erased", "the person was erased", "nothing of them is kept any more")
        return kept
