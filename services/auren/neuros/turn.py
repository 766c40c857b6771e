"""One turn of a conversation as it goes through the graph: what is known, then what is decided, then what is said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypedDict

from auren.latest import Latest
from auren.modes import Decision
from auren.neuros.protocols import Protocol

Feeling = Literal["off", "fine"]


@dataclass(frozen=True, slots=True)
class Insight:
    """One measured value that the reply rests on, with a sentence about it."""

    metric: str
    value: float
    unit: str
    time: datetime
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said: sentences that still stand apart, so that each can be checked by itself."""

    sentences: tuple[str, ...]
    insights: tuple[Insight, ...] = ()
    recommendations: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and everything that became known on its way; each node returns a fuller copy."""

    user_id: str
    message: str
    now: datetime
    feeling: Feeling | None = None
    latest: Latest | None = None
    troubles: tuple[str, ...] = ()
    emergency: str | None = None
    decision: Decision | None = None
    reply: Reply | None = None


class Session(TypedDict):
    """What a session keeps between turns; plain JSON, for it lies in a checkpoint."""

    turns: int
    last_at: str
    last_mode: str | None
    last_values: dict[str, Any]


SESSION_LOST: Final = "session: it cannot be read or kept at the moment, so earlier turns are not known"
"""The trouble of a turn that goes without its session."""

NEW_SESSION: Session = {"turns": 0, "last_at": "", "last_mode": None, "last_values": {}}
