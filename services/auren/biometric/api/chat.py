"""Conversations with NEUROS: by request and answer, and by a socket."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auren.auth import LEEWAY_SECONDS, SCOPE_CHAT_NEUROS, ForbiddenError, Principal, UnauthorizedError, Verifier
from auren.biometric.chats import Chats
from auren.http import Caller, ProblemError, problem_of
from auren.openapi import problem

SESSION: Final = r"^[A-Za-z0-9_-]{1,64}$"
"""NEUROS' session ids."""

MOST_CHARACTERS: Final = 4000
MOST_FRAME_BYTES: Final = 32 * 1024
MOST_SOCKETS: Final = 200
MOST_PER_PERSON: Final = 5
PROTOCOL: Final = "bearer"
EXPIRED: Final = 4401
TRY_LATER: Final = 1013
"""Close codes: the token has ended; too many sockets (RFC 6455's registry, "try again later")."""

ANSWERS: dict[int | str, dict[str, Any]] = {
    **problem(410, "the person was erased", "erased"),
    **problem(422, "the request is not valid, here or to NEUROS", "invalid", "neuros-refuses"),
}


class Say(BaseModel):
    """A message to NEUROS; without `session_id` a new session begins. `context` as NEUROS takes it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "How am I doing?"}]})

    message: str = Field(min_length=1, max_length=MOST_CHARACTERS, pattern=r"^[^\x00]*$")
    session_id: Annotated[str | None, Field(pattern=SESSION)] = None
    context: dict[str, Any] | None = None

    def question(self, session: str) -> dict[str, Any]:
        """What NEUROS is asked."""
        asked: dict[str, Any] = {"message": self.message, "session_id": session}
        return asked | ({"context": self.context} if self.context is not None else {})


class SaidOut(BaseModel):
    """NEUROS' answer as it gave it, and where both messages stand in the history."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "message_id": 41,
                    "reply_id": 42,
                    "session_id": "evening",
                    "answer": {
                        "response": "Your heart rate is 61 beats per minute, 6 minutes ago.",
                        "mode": "companion",
                        "session_id": "evening",
                    },
                }
            ]
        }
    )

    message_id: int
    reply_id: int
    session_id: str
    answer: dict[str, Any] = Field(description="the answer of NEUROS' `POST /api/agents/neuros/analyze`")


class MessageOut(BaseModel):
    """One message of a session."""

    id: int
    at: datetime
    role: str = Field(description="person or neuros")
    content: str
    detail: dict[str, Any] = Field(description="of a reply: mode, why, and the model that wrote it")


class HistoryOut(BaseModel):
    """Messages, oldest first. `next` is the `after` of the following page, null on the last one.

    A person's message that no reply follows was not answered: NEUROS was away, or refused it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": "evening",
                    "messages": [
                        {
                            "id": 41,
                            "at": "2026-03-04T20:15:00Z",
                            "role": "person",
                            "content": "How am I doing?",
                            "detail": {},
                        }
                    ],
                    "next": None,
                }
            ]
        }
    )

    session_id: str
    messages: list[MessageOut]
    next: int | None


def routes(talker: Caller, verifier: Verifier, chats: Chats, origins: Sequence[str]) -> APIRouter:
    """`POST /api/chat/neuros`, `GET /api/chat/history/{session}`, `WS /ws/chat/{session}`."""
    routes = APIRouter(tags=["chat"])
    sockets = _Sockets(verifier, chats, origins)

    @routes.post("/api/chat/neuros", responses=ANSWERS)
    async def say(said: Say, request: Request, caller: Annotated[Principal, Depends(talker)]) -> SaidOut:
        """Say something to NEUROS. It is kept in the history also when NEUROS cannot answer now."""
        session = said.session_id or uuid.uuid4().hex
        found = await chats.say(caller.user_id, said.question(session), request.headers["authorization"])
        return SaidOut(message_id=found.message_id, reply_id=found.reply_id, session_id=session, answer=found.answer)

    @routes.get("/api/chat/history/{session}")
    async def history(
        session: Annotated[str, Path(pattern=SESSION)],
        caller: Annotated[Principal, Depends(talker)],
        after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> HistoryOut:
        """What the caller and NEUROS said in a session; a session of somebody else has no messages."""
        rows = await chats.history(caller.user_id, session, after, limit + 1)
        messages = [
            MessageOut(
                id=row["id"],
                at=row["at"],
                role=row["role"],
                content=row["content"],
                detail=msgspec.json.decode(row["detail"]),
            )
            for row in rows[:limit]
        ]
        return HistoryOut(session_id=session, messages=messages, next=messages[-1].id if len(rows) > limit else None)

    @routes.websocket("/ws/chat/{session}")
    async def talk(socket: WebSocket, session: Annotated[str, Path(pattern=SESSION)]) -> None:
        await sockets.serve(socket, session)

    return routes


class _Sockets:
    """The sockets of one process. A browser sends the token as a subprotocol: `bearer, <jwt>`."""

    def __init__(self, verifier: Verifier, chats: Chats, origins: Sequence[str]) -> None:
        self._verifier = verifier
        self._chats = chats
        self._origins = frozenset(origins)
        self._open: Counter[str] = Counter()

    async def serve(self, socket: WebSocket, session: str) -> None:
        """From the handshake to the end. One that may not talk is refused before it is accepted (403)."""
        offered = [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]
        origin = socket.headers.get("origin")
        token = offered[1] if len(offered) == 2 and offered[0] == PROTOCOL else ""
        authorization = f"Bearer {token}"
        try:
            caller = await self._verifier.caller(authorization)
            caller.require(SCOPE_CHAT_NEUROS)
        except (UnauthorizedError, ForbiddenError, ProblemError):
            await socket.close()
            return
        if origin is not None and origin not in self._origins:
            await socket.close()
            return
        if self._open.total() >= MOST_SOCKETS or self._open[caller.user_id] >= MOST_PER_PERSON:
            await socket.accept(subprotocol=PROTOCOL)
            await socket.close(TRY_LATER)
            return
        self._open[caller.user_id] += 1  # before anything is awaited: two that come together are both counted
        self._chats.sockets.inc()
        try:
            await socket.accept(subprotocol=PROTOCOL)
            await self._talk(socket, session, caller, authorization)
        except (WebSocketDisconnect, TimeoutError):
            pass
        finally:
            self._open -= Counter([caller.user_id])
            self._chats.sockets.dec()

    async def _talk(self, socket: WebSocket, session: str, caller: Principal, authorization: str) -> None:
        left = caller.expires_at + LEEWAY_SECONDS - time.time()
        try:
            async with asyncio.timeout(max(0.0, left)):
                while True:
                    await socket.send_json(await self._reply(await _text(socket), session, caller, authorization))
        except (TimeoutError, UnauthorizedError):
            await socket.close(EXPIRED)

    async def _reply(self, text: str | None, session: str, caller: Principal, authorization: str) -> dict[str, Any]:
        """The frame that answers one message. Raises UnauthorizedError when the token is not valid any more."""
        try:
            await self._verifier.caller(authorization)  # each message counts, and a token may be revoked meanwhile
            if text is None:
                raise ProblemError(422, "invalid", "the message is not valid", "a frame of text is needed")
            if len(text.encode()) > MOST_FRAME_BYTES:
                raise ProblemError(413, "too-large", "the message is too large", f"at most {MOST_FRAME_BYTES} bytes")
            said = Say.model_validate_json(text)
            found = await self._chats.say(caller.user_id, said.question(session), authorization)
        except ValidationError as error:
            fields = sorted({".".join(map(str, fault["loc"])) or "the message" for fault in error.errors()})
            return {"type": "error", "status": 422, "title": "the message is not valid", "detail": ", ".join(fields)}
        except UnauthorizedError:
            raise
        except Exception as error:
            found_problem = problem_of(error)
            if found_problem is None:
                raise
            return _error(found_problem)
        return {"type": "reply", "message_id": found.message_id, "reply_id": found.reply_id, "answer": found.answer}


async def _text(socket: WebSocket) -> str | None:
    """The next frame; None for a binary one. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"], message.get("reason"))
    text: str | None = message.get("text")
    return text


def _error(found: ProblemError) -> dict[str, Any]:
    """A problem as a frame; `retry_after` (seconds) where waiting helps."""
    body = found.body()
    frame = {"type": "error"} | {name: body[name] for name in ("status", "title", "detail") if name in body}
    wait = found.headers.get("Retry-After")
    return frame | ({"retry_after": int(wait)} if wait else {})
