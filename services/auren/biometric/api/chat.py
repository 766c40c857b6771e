"""Conversations with NEUROS: by request and answer, and by a socket."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auren.auth import SCOPE_CHAT_NEUROS, Principal, UnauthorizedError, Verifier
from auren.biometric.chats import Chats
from auren.http import Caller
from auren.openapi import problem
from auren.sockets import Caller as SocketCaller
from auren.sockets import Sockets, error_frame, invalid_frame, next_text

SESSION: Final = r"^[A-Za-z0-9_-]{1,64}$"
"""NEUROS' session ids."""

MOST_CHARACTERS: Final = 4000

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
    sockets = Sockets(verifier, SCOPE_CHAT_NEUROS, origins, chats.sockets)

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
        await sockets.serve(socket, _Talk(chats, session))

    return routes


class _Talk:
    """What is said on a socket: each message is answered in turn."""

    def __init__(self, chats: Chats, session: str) -> None:
        self._chats = chats
        self._session = session

    async def __call__(self, socket: WebSocket, caller: SocketCaller) -> None:
        while True:
            await socket.send_json(await self._reply(socket, caller))

    async def _reply(self, socket: WebSocket, caller: SocketCaller) -> dict[str, Any]:
        """The frame that answers the next message. Raises UnauthorizedError once the token is not valid any more."""
        try:
            said = Say.model_validate_json(await next_text(socket, caller))
            found = await self._chats.say(caller.user_id, said.question(self._session), caller.authorization)
        except ValidationError as error:
            return invalid_frame(
                sorted({".".join(map(str, fault["loc"])) or "the message" for fault in error.errors()})
            )
        except (UnauthorizedError, WebSocketDisconnect):
            raise
        except Exception as error:
            frame = error_frame(error)
            if frame is None:
                raise
            return frame
        return {"type": "reply", "message_id": found.message_id, "reply_id": found.reply_id, "answer": found.answer}
