"""The first look at a message, before any store or model: emergencies, and cues for the mode. Pure."""

from __future__ import annotations

import re
from typing import Final

from auren.modes.thresholds import Cue
from auren.neuros.guard.emergencies import EMERGENCIES, HARMLESS, Emergency
from auren.neuros.guard.text import disguised, plain

_FEELS_OFF: Final = re.compile(
    r"\b(?:feel(?:ing)? (?:\w+ ){0,3}(?:off|bad|awful|terrible|down|low|weird|strange|unwell|tired|exhausted|stressed)"
    r"|(?:i am|i'm|am i) (?:(?:so|very|really|just|always|often) ){0,2}(?:tired|unwell|anxious|sad|low|down|stressed)\b"
    r"|not (?:feeling )?(?:well|myself|right|great|good|ok(?:ay)?)\b"
    r"|something(?: is| feels|'s) (?:off|wrong)"
    r"|(?:exhausted|worn out|burn(?:ed|t) out|stressed(?: out)?|overwhelmed)\b)"
)
_GREETING: Final = re.compile(r"(?:hi|hello|hey|good (?:morning|afternoon|evening))\b[^\w]*(?:neuros|there)?[^\w]*")

FEELS_OFF: Final[frozenset[Cue]] = frozenset({"feels-off"})


def emergency(message: str) -> Emergency | None:
    """The emergency that a message expresses, if any, with the answer in the language that expressed it."""
    text = plain(message)
    found = _first(text)
    if found is None and (other := disguised(text)) != text:
        found = _first(other)
    return found


def cues(message: str) -> frozenset[Cue]:
    """What else a message expresses. A greeting is one only when it is all of the message."""
    text = plain(message)
    found: set[Cue] = set()
    if _GREETING.fullmatch(text):
        found.add("greeting")
    if _FEELS_OFF.search(text):
        found.add("feels-off")
    return frozenset(found)


def _first(text: str) -> Emergency | None:
    serious = HARMLESS.sub(" . ", text)
    return next((kind for kind in EMERGENCIES if kind.pattern.search(serious)), None)
