"""What NEUROS keeps of a person: to be looked at, and to be erased."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from auren.auth import SCOPE_CHAT_NEUROS, SCOPE_ERASE, SCOPE_READ_BIOMETRICS, Principal, Verifier
from auren.events import USER_ID_PATTERN
from auren.http import Caller
from auren.link import UnavailableError
from auren.neuros.agent import Agent
from auren.neuros.api.asking import SessionId
from auren.neuros.interventions.api import InterventionOut, PreferencesModel, told
from auren.neuros.interventions.api import shown as offered
from auren.neuros.interventions.store import Store
from auren.neuros.knowledge import Known
from auren.neuros.memory import Memories, Memory

MOST_OFFERED: Final = 20_000
"""Interventions that are shown: a year, after which they are forgotten, of the largest daily cap."""


class MemoryItemOut(BaseModel):
    """One memory. `tier`: hot is kept for days, warm for a year, cold until it is erased."""

    id: str
    kind: str
    text: str
    source: str = Field(description="said by the person, or derived from what was said or measured")
    confidence: float
    said_at: datetime
    tier: str
    used: int


class SessionOut(BaseModel):
    """What a session keeps between turns; empty where it is not known."""

    session: dict[str, Any]


class MemoryOut(BaseModel):
    """All of it: sessions by their ids, memories, interventions with what came of them, and what the person wants."""

    sessions: dict[str, dict[str, Any]]
    memories: list[MemoryItemOut]
    interventions: list[InterventionOut]
    preferences: PreferencesModel | None = Field(description="null for somebody who has said nothing")


class ForgottenOut(BaseModel):
    """How much was erased."""

    sessions: int
    memories: dict[str, int] = Field(description="by tier")
    interventions: dict[str, int] = Field(description="by table: those that were offered, and what the person wanted")


class Everything:
    """All stores that hold something of people."""

    def __init__(self, agent: Agent, memories: Memories, interventions: Store, known: Known) -> None:
        """All are the service's."""
        self._known = known
        self._agent = agent
        self._memories = memories
        self._interventions = interventions

    async def of(self, user_id: str) -> MemoryOut:
        """What is kept of a user. Raises UnavailableError."""
        wanted = await self._interventions.preferences(user_id)
        return MemoryOut(
            sessions=await self._agent.sessions(user_id),
            memories=[shown(memory) for memory in await self._memories.of(user_id)],
            interventions=[offered(kept) for kept in await self._interventions.newest(user_id, None, MOST_OFFERED)],
            preferences=told(wanted) if wanted is not None else None,
        )

    async def erase(self, user_id: str) -> ForgottenOut:
        """Erase it, for good. Raises UnavailableError once every store that can be reached is empty."""
        self._known.forget(user_id)
        troubles: list[UnavailableError] = []
        found: dict[str, Any] = {}
        stores: tuple[tuple[str, Callable[[str], Awaitable[Any]]], ...] = (
            ("interventions", self._interventions.erase),
            ("memories", self._memories.erase),
            ("sessions", self._agent.forget),
        )
        for name, erase in stores:
            try:
                found[name] = await erase(user_id)
            except UnavailableError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]
        return ForgottenOut(**found)


def shown(memory: Memory) -> MemoryItemOut:
    """A memory as the API gives it."""
    return MemoryItemOut(**{name: getattr(memory, name) for name in MemoryItemOut.model_fields})


User = Annotated[str, Path(pattern=USER_ID_PATTERN)]


def routes(caller: Caller, verifier: Verifier, agent: Agent, everything: Everything) -> APIRouter:
    """`GET /state/{session}`, `GET /memory`, `GET|DELETE /users/{user}/memory`."""
    routes = APIRouter(tags=["memory"])

    async def may_reach(request: Request) -> Principal:
        """The user, with the right to chat or to read; anybody else only with the scope `erase`."""
        principal = await verifier.caller(request.headers.get("authorization"))
        if principal.user_id != request.path_params["user"]:
            principal.require(SCOPE_ERASE)
        elif SCOPE_CHAT_NEUROS not in principal.scopes:
            principal.require(SCOPE_READ_BIOMETRICS)
        return principal

    @routes.get("/state/{session}")
    async def get_state(session: SessionId, principal: Annotated[Principal, Depends(caller)]) -> SessionOut:
        """What one of the caller's sessions keeps between turns."""
        return SessionOut(session=await agent.session(principal.user_id, session))

    @routes.get("/memory")
    async def get_own_memory(principal: Annotated[Principal, Depends(caller)]) -> MemoryOut:
        """All that NEUROS keeps of the caller."""
        return await everything.of(principal.user_id)

    @routes.get("/users/{user}/memory")
    async def get_memory(user: User, _principal: Annotated[Principal, Depends(may_reach)]) -> MemoryOut:
        """All that NEUROS keeps of a user."""
        return await everything.of(user)

    @routes.delete("/users/{user}/memory")
    async def erase_memory(user: User, _principal: Annotated[Principal, Depends(may_reach)]) -> ForgottenOut:
        """Erase all that NEUROS keeps of a user, for good. May be repeated."""
        return await everything.erase(user)

    return routes
