"""One turn of a conversation as it goes through the graph: what is known, then what is decided, then what is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypedDict

from auren.latest import Latest
from auren.modes import Cue, Decision
from auren.neuros.knowledge import Knowledge
from auren.neuros.memory.items import Item, Memory
from auren.neuros.protocols import Protocol

Feeling = Literal["off", "fine"]

RULES: Final = "rules"
"""The `model` of a reply that no language model has written."""


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
    """What is said: sentences that still stand apart, so that each can be checked by itself.

    `by` is who has written it, a model's name or `rules`; `remember` what of the message is worth keeping.
    """

    sentences: tuple[str, ...]
    insights: tuple[Insight, ...] = ()
    recommendations: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    by: str = RULES
    remember: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and everything that became known on its way; each node returns a fuller copy.

    `said` are sentences that the person has been told already, while the reply was made. `faults` counts sentences that
    were left out, by why.
    """

    user_id: str
    session_id: str
    message: str
    now: datetime
    feeling: Feeling | None = None
    latest: Latest | None = None
    knowledge: Knowledge | None = None
    memories: tuple[Memory, ...] = ()
    troubles: tuple[str, ...] = ()
    emergency: str | None = None
    cues: frozenset[Cue] = frozenset()
    flags: tuple[str, ...] = ()
    decision: Decision | None = None
    reply: Reply | None = None
    said: tuple[str, ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)


class Exchange(TypedDict):
    """What was said in one turn."""

    message: str
    reply: str


class Session(TypedDict):
    """What a session keeps between turns; plain JSON, for it lies in a checkpoint. The newest exchange comes last."""

    turns: int
    last_at: str
    last_mode: str | None
    last_values: dict[str, Any]
    exchanges: list[Exchange]


MOST_EXCHANGES: Final = 6
"""What a model is shown of a session; what is older is what memories are for."""

SESSION_LOST: Final = "session: it cannot be read or kept at the moment, so earlier turns are not known"
"""The trouble of a turn that goes without its session."""

USUAL: Final = "what is usual"
"""How `troubles` name what was learnt of a person, when it cannot be had."""

NEW_SESSION: Session = {"turns": 0, "last_at": "", "last_mode": None, "last_values": {}, "exchanges": []}
