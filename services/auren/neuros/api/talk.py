"""A conversation on a socket: replies as they are made, and interventions when they come."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from starlette.types import Message as ReceivedFrame

from auren.auth import UnauthorizedError
from auren.neuros.agent import Agent, Answer
from auren.neuros.api.analysis import Shown
from auren.neuros.api.asking import SESSION, Message
from auren.neuros.interventions.sockets import Sockets as InterventionSockets
from auren.neuros.turn import Turn
from auren.sockets import Caller, Sockets, error_frame, invalid_frame, next_frame, text_of

MOST_WAITING: Final = 8
"""Messages that wait for their answers; more stay with the one who sends them."""

Frames = asyncio.Queue[ReceivedFrame]


def routes(sockets: Sockets, agent: Agent, interventions: InterventionSockets, shown: Shown) -> APIRouter:
    """`WS /ws/{session}`."""
    routes = APIRouter(tags=["chat"])

    @routes.websocket("/ws/{session}")
    async def talk(socket: WebSocket, session: Annotated[str, Path(pattern=SESSION)]) -> None:
        await sockets.serve(socket, _Talk(agent, interventions, shown, session))

    return routes


class _Talk:
    """One socket. Frames to the person: mode, sentence, reply, intervention, error; one is written at a time."""

    def __init__(self, agent: Agent, interventions: InterventionSockets, shown: Shown, session: str) -> None:
        self._agent = agent
        self._interventions = interventions
        self._shown = shown
        self._session = session
        self._writing = asyncio.Lock()

    async def __call__(self, socket: WebSocket, caller: Caller) -> None:
        """Read, answer and tell at once until one of them ends: who leaves is noticed also within a reply."""
        frames: Frames = asyncio.Queue(MOST_WAITING)
        tasks = [
            asyncio.create_task(_read(socket, frames), name="socket-reading"),
            asyncio.create_task(self._answer_all(socket, caller, frames), name="socket-answers"),
            asyncio.create_task(self._tell(socket, caller), name="socket-interventions"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, socket: WebSocket, caller: Caller) -> None:
        """Interventions, as long as the token is good. Raises UnauthorizedError after that."""
        async with aclosing(self._interventions.follow(caller.user_id)) as found:  # type: ignore[type-var]
            async for intervention in found:
                caller.check()
                await self._send(socket, {"type": "intervention", **self._shown.intervention(intervention)})

    async def _answer_all(self, socket: WebSocket, caller: Caller, frames: Frames) -> None:
        while True:
            await self._answer(socket, caller, await frames.get())

    async def _answer(self, socket: WebSocket, caller: Caller, message: ReceivedFrame) -> None:
        """Answer a message. Raises UnauthorizedError once the token is not valid any more."""
        try:
            said = Message.model_validate_json(await text_of(message, caller))
            pieces = self._agent.stream(caller.user_id, self._session, said.message, said.context.feeling)
            async with aclosing(pieces) as steps:  # type: ignore[type-var]
                async for step in steps:
                    await self._send(socket, self._frame(step))
        except ValidationError as error:
            fields = sorted({".".join(map(str, fault["loc"])) or "the message" for fault in error.errors()})
            await self._send(socket, invalid_frame(fields))
        except (UnauthorizedError, WebSocketDisconnect):
            raise
        except Exception as error:
            frame = error_frame(error)
            if frame is None:
                raise
            await self._send(socket, frame)

    def _frame(self, step: Turn | str | Answer) -> dict[str, Any]:
        if isinstance(step, str):
            return {"type": "sentence", "text": step}
        if isinstance(step, Turn):
            return {"type": "mode", **self._shown.mode(step)}
        return {"type": "reply", **self._shown.analysis(step, self._session).model_dump(mode="json")}

    async def _send(self, socket: WebSocket, frame: dict[str, Any]) -> None:
        async with self._writing:
            await socket.send_json(frame)


async def _read(socket: WebSocket, frames: Frames) -> None:
    """Take frames in as they come. Raises WebSocketDisconnect at their end."""
    while True:
        await frames.put(await next_frame(socket))
