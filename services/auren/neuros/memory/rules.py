"""Which memories move between tiers, and which are told. Pure.

Warm becomes cold by age and lack of use; what is cold and used again becomes warm. Nothing is lost by a move: a cold
memory is found by what it is about, a warm one also because it is recent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from auren.neuros.memory.items import Memory

IDLE: Final = timedelta(days=90)
"""After so long without being said or used it becomes cold."""

LONGEST_WARM: Final = timedelta(days=365)
"""After so long it becomes cold, however often it is used; use makes it warm again."""

WARM_TARGET: Final = 100
"""How many stay warm of a person when upkeep has passed; the others become cold, longest untouched first."""

WARM_MOST: Final = 300
"""More are not taken in before upkeep has passed."""

COLD_MOST: Final = 2000
"""How many stay cold of a person; the longest untouched are forgotten."""

PROMOTED_AFTER: Final = 3
"""Uses that make a cold memory warm."""


class Limits(NamedTuple):
    """Before which instants a warm memory must have been touched, or kept, to become cold."""

    touched: datetime
    kept: datetime


def limits(now: datetime) -> Limits:
    """The limits at a time."""
    return Limits(now - IDLE, now - LONGEST_WARM)


def to_cold(memories: Sequence[Memory], now: datetime, target: int = WARM_TARGET) -> list[Memory]:
    """Which of all warm memories of one person become cold."""
    touched, kept = limits(now)
    old = [m for m in memories if m.touched_at < touched or m.kept_at < kept]
    gone = {m.id for m in old}
    return old + surplus([m for m in memories if m.id not in gone], target)


def surplus(memories: Sequence[Memory], most: int) -> list[Memory]:
    """Those beyond `most`, longest untouched first; of equals the less sure."""
    by_worth = sorted(memories, key=lambda m: (m.touched_at, m.confidence, m.id))
    return by_worth[: max(0, len(memories) - most)]


def becomes_warm(memory: Memory) -> bool:
    """Whether a cold memory has been used often enough."""
    return memory.used >= PROMOTED_AFTER


def told(found: Iterable[Memory], most: int, relevant: float) -> list[Memory]:
    """At most so many, each once: the relevant ones first, then recent warm ones.

    One that lies in two tiers, after a move that was interrupted, is told from the warm one.
    """
    by_id: dict[str, Memory] = {}
    for memory in found:
        if memory.id not in by_id or memory.tier == "warm":
            by_id[memory.id] = memory
    fitting = [m for m in by_id.values() if is_relevant(m, relevant)]
    fitting.sort(key=lambda m: (m.relevance or 0.0, m.touched_at), reverse=True)
    recent = [m for m in by_id.values() if m.tier == "warm" and not is_relevant(m, relevant)]
    recent.sort(key=lambda m: m.touched_at, reverse=True)
    return [*fitting, *recent][:most]


def is_relevant(memory: Memory, relevant: float) -> bool:
    """Whether a memory is about the message. Only then it counts as used: the recent ones are told anyway."""
    return memory.relevance is not None and memory.relevance >= relevant
