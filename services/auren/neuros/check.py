"""The last look at a reply: every number in it must be one that is known. Sentences that fail are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from auren.modes.engine import number
from auren.neuros.respond import ago
from auren.neuros.turn import Session, Turn

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")


def known_numbers(turn: Turn, session: Session) -> frozenset[str]:
    """The numbers that a reply may hold, as written: values and their ages, thresholds, earlier values."""
    return frozenset(_known(turn, session))


def checked(sentences: Iterable[str], known: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(sentences that hold known numbers only, the others)."""
    kept: list[str] = []
    dropped: list[str] = []
    for sentence in sentences:
        (kept if known.issuperset(_NUMBER.findall(sentence)) else dropped).append(sentence)
    return tuple(kept), tuple(dropped)


def _known(turn: Turn, session: Session) -> Iterator[str]:
    for value in turn.latest.values.values() if turn.latest is not None else ():
        yield number(value.value)
        yield from _NUMBER.findall(ago(turn.now - value.time))
    for evidence in turn.decision.evidence if turn.decision is not None else ():
        yield from (number(evidence.value), number(evidence.threshold), number(100 * evidence.threshold))
        if evidence.baseline is not None:
            yield number(evidence.baseline)
    for before in session["last_values"].values():
        yield number(before["value"])
