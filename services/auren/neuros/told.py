"""What people tell of themselves in so many words and want to be remembered. Pure; no model is needed for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from auren.neuros.memory.items import Item, Kind

_ASKED: Final = re.compile(
    r"^\s*(?:please\s+)?remember(?:\s+that|\s*:)?\s+(?P<text>\S[^?]{2,299})$", re.IGNORECASE | re.DOTALL
)
_LIKES: Final = re.compile(
    r"\b(?P<text>I\s+(?:really\s+)?(?:prefer|like|love|enjoy|hate|dislike|can't stand|don't like)\s+"
    r"[^.!?\n]{3,200}+)(?!\?)",
    re.IGNORECASE,
)
_CIRCUMSTANCES: Final = re.compile(
    r"\b(?P<text>I\s+(?:work\s+(?:nights|shifts|from home)|am\s+(?:training|preparing)\s+for"
    r"|have\s+(?:a\s+newborn|small children)|(?:usually|always|never)\s+\w+)[^.!?\n]{0,200}+)(?!\?)",
    re.IGNORECASE,
)
_WAYS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (("preference", _LIKES), ("fact", _CIRCUMSTANCES))


def told_of_themselves(message: str, now: datetime, session_id: str | None = None) -> Iterator[Item]:
    """What a message asks to remember; else what it says of likes and circumstances, at most one of each kind."""
    plain = message.replace("\u2019", "'")
    if (asked := _ASKED.match(plain)) is not None:
        yield _item("fact", asked["text"], now, session_id)
        return
    for kind, pattern in _WAYS:
        if (found := pattern.search(plain)) is not None:
            yield _item(kind, found["text"], now, session_id)


def _item(kind: Kind, text: str, now: datetime, session_id: str | None) -> Item:
    return Item(kind=kind, text=text.strip(), source="said", said_at=now, session_id=session_id)
