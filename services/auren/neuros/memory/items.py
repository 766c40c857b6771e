"""What a memory is: its text made harmless to store, where it comes from, and when two of them are the same. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
from datetime import datetime
from typing import Final, Literal

import msgspec

Kind = Literal["fact", "preference", "outcome", "summary", "note", "intervention"]
Source = Literal["said", "derived"]
"""Whether the person said it, or it was concluded from what was said or measured."""

Tier = Literal["hot", "warm", "cold"]

PASSING: Final[frozenset[Kind]] = frozenset({"note", "intervention"})
"""Kinds that are kept for hours only."""

MOST_CHARACTERS: Final = 300
MOST_NAME_CHARACTERS: Final = 64

_IDS: Final = uuid.UUID("5d0f1d5e-6f0c-4f53-9a6e-0b8f0f2f5a17")
_SPACES: Final = re.compile(r"\s+")
_EDGES: Final = re.compile(r"^[\W_]+|[\W_]+$")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be remembered, as it comes: nothing of it is trusted.

    `said_at` is the time of the message, with its zone; `protocol` the exercise that an outcome is about.
    """

    kind: Kind
    text: str
    source: Source
    said_at: datetime
    confidence: float = 1.0
    session_id: str | None = None
    protocol: str | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory as it is kept. `session` is a hash; `relevance` (-1 to 1) to a message, None where it was not asked."""

    id: str
    kind: Kind
    text: str
    source: Source
    confidence: float
    said_at: datetime
    kept_at: datetime
    session: str | None = None
    protocol: str | None = None
    used: int = 0
    last_used_at: datetime | None = None
    tier: Tier = "warm"
    relevance: float | None = None

    @property
    def touched_at(self) -> datetime:
        """When it was last said or used."""
        return max(self.said_at, self.last_used_at or self.said_at)


def clean(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text as one line without control, format and private characters, of at most `most` characters."""
    plain = unicodedata.normalize("NFC", text[: 4 * most])
    visible = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in plain)
    return _SPACES.sub(" ", visible).strip()[:most].rstrip()


_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Also what is invisible or turns the direction of writing, and lone surrogates, which no store takes."""


def normal(text: str) -> str:
    """What two texts share when they are the same memory: case, spaces and marks at the edges do not count."""
    folded = _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return _EDGES.sub("", folded) or folded


def memory_id(user_id: str, text: str) -> str:
    """The id of a person's memory: another person's same text has another one."""
    return str(uuid.uuid5(_IDS, f"{user_id}\n{normal(text)}"))


def session_hash(user_id: str, session_id: str) -> str:
    """What stands for a session: it tells memories of one session, and nothing else."""
    return hashlib.sha256(f"{user_id}\n{session_id}".encode()).hexdigest()[:16]


def memory(user_id: str, item: Item, now: datetime) -> Memory | None:
    """The item as a memory; None where nothing of its text is left. No message comes from the future."""
    text = clean(item.text)
    if not text:
        return None
    return Memory(
        id=memory_id(user_id, text),
        kind=item.kind,
        text=text,
        source=item.source,
        confidence=min(1.0, max(0.0, item.confidence)) if item.confidence == item.confidence else 0.0,
        said_at=min(item.said_at, now),
        kept_at=now,
        session=session_hash(user_id, item.session_id) if item.session_id else None,
        protocol=clean(item.protocol, MOST_NAME_CHARACTERS) or None if item.protocol else None,
        tier="hot" if item.kind in PASSING else "warm",
    )


def merged(one: Memory, other: Memory) -> Memory:
    """Two with the same id as one: what the person said stands before what was concluded, then the surer one."""
    best, rest = (one, other) if _trust(one) >= _trust(other) else (other, one)
    used_at = [at for at in (one.last_used_at, other.last_used_at) if at is not None]
    return msgspec.structs.replace(
        best,
        confidence=max(one.confidence, other.confidence),
        said_at=max(one.said_at, other.said_at),
        kept_at=min(one.kept_at, other.kept_at),
        session=best.session or rest.session,
        protocol=best.protocol or rest.protocol,
        used=max(one.used, other.used),
        last_used_at=max(used_at, default=None),
    )


def _trust(memory: Memory) -> tuple[bool, float, datetime]:
    return memory.source == "said", memory.confidence, memory.said_at
