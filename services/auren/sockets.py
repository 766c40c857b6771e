"""WebSockets of people: who may open one, how many, and for how long. What is said on them is the services' affair.

A browser sends the token as a subprotocol: `bearer, <jwt>`. One that may not talk is refused before it is accepted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from fastapi import WebSocket, WebSocketDisconnect
from prometheus_client import Gauge
from starlette.types import Message

from auren.auth import LEEWAY_SECONDS, ForbiddenError, Principal, UnauthorizedError, Verifier
from auren.http import ProblemError, problem_of

MOST_FRAME_BYTES: Final = 32 * 1024
MOST_SOCKETS: Final = 200
MOST_PER_PERSON: Final = 5
PROTOCOL: Final = "bearer"
EXPIRED: Final = 4401
TRY_LATER: Final = 1013
"""Close codes: the token has ended; too many sockets (RFC 6455's registry, "try again later")."""


class Caller:
    """Who has opened a socket. `authorization` is the header that a request of theirs would have."""

    def __init__(self, principal: Principal, authorization: str, verifier: Verifier) -> None:
        self.user_id = principal.user_id
        self.authorization = authorization
        self._verifier = verifier

    async def spend(self) -> None:
        """Count a message against the rate limit. Raises UnauthorizedError once the token is revoked, TooManyError."""
        await self._verifier.caller(self.authorization)

    def check(self) -> None:
        """Whether they may still be told something. Raises UnauthorizedError once the token is revoked or over."""
        self._verifier.principal(self.authorization)


Talk = Callable[[WebSocket, Caller], Awaitable[None]]
"""Talks on an open socket until it has nothing more to say."""


class Sockets:
    """The sockets of one process."""

    def __init__(self, verifier: Verifier, scope: str, origins: Sequence[str], open_sockets: Gauge) -> None:
        """`origins` are the pages that may open one; `open_sockets` is set to how many there are."""
        self._verifier = verifier
        self._scope = scope
        self._origins = frozenset(origins)
        self._gauge = open_sockets
        self._open: Counter[str] = Counter()

    async def serve(self, socket: WebSocket, talk: Talk) -> None:
        """From the handshake to the end; the token's end is the end."""
        caller = await self._admitted(socket)
        if caller is None:
            await socket.close()
            return
        user_id = caller[0].user_id
        if self._open.total() >= MOST_SOCKETS or self._open[user_id] >= MOST_PER_PERSON:
            await socket.accept(subprotocol=PROTOCOL)
            await socket.close(TRY_LATER)
            return
        self._open[user_id] += 1  # before anything is awaited: two that come together are both counted
        self._gauge.inc()
        try:
            await socket.accept(subprotocol=PROTOCOL)
            await self._talk(socket, talk, *caller)
        except (WebSocketDisconnect, TimeoutError):
            pass
        finally:
            self._open -= Counter([user_id])
            self._gauge.dec()

    async def _admitted(self, socket: WebSocket) -> tuple[Caller, float] | None:
        """(the caller, when their token ends); None for who may not talk here."""
        offered = [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]
        token = offered[1] if len(offered) == 2 and offered[0] == PROTOCOL else ""
        authorization = f"Bearer {token}"
        origin = socket.headers.get("origin")
        try:
            principal = await self._verifier.caller(authorization)
            principal.require(self._scope)
        except (UnauthorizedError, ForbiddenError, ProblemError):
            return None
        if origin is not None and origin not in self._origins:
            return None
        return Caller(principal, authorization, self._verifier), principal.expires_at + LEEWAY_SECONDS

    async def _talk(self, socket: WebSocket, talk: Talk, caller: Caller, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, until - time.time())):
                await talk(socket, caller)
        except (TimeoutError, UnauthorizedError):
            await socket.close(EXPIRED)


async def next_text(socket: WebSocket, caller: Caller) -> str:
    """The next frame, as `text_of`. Raises WebSocketDisconnect too."""
    return await text_of(await next_frame(socket), caller)


async def next_frame(socket: WebSocket) -> Message:
    """The next frame as it came. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"], message.get("reason"))
    return message


async def text_of(message: Message, caller: Caller) -> str:
    """The text of a frame, which is counted. Raises what `spend` raises, and ProblemError for what is no text."""
    await caller.spend()
    text: str | None = message.get("text")
    if text is None:
        raise ProblemError(422, "invalid", "the message is not valid", "a frame of text is needed")
    if len(text.encode()) > MOST_FRAME_BYTES:
        raise ProblemError(413, "too-large", "the message is too large", f"at most {MOST_FRAME_BYTES} bytes")
    return text


def error_frame(error: Exception) -> dict[str, Any] | None:
    """A problem as a frame, with `retry_after` (seconds) where waiting helps; None for a defect."""
    found = problem_of(error)
    if found is None:
        return None
    body = found.body()
    frame = {"type": "error"} | {name: body[name] for name in ("status", "title", "detail") if name in body}
    wait = found.headers.get("Retry-After")
    return frame | ({"retry_after": int(wait)} if wait else {})


def invalid_frame(fields: Sequence[str]) -> dict[str, Any]:
    """What is wrong with a message."""
    return {"type": "error", "status": 422, "title": "the message is not valid", "detail": ", ".join(fields)}
