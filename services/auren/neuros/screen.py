"""The first look at a message: what must not wait for numbers, modes or models.

The lists are deliberately broad: a false alarm costs one careful paragraph, a miss may cost a life. So negations and
quotations are not told apart either.
"""

import re
from typing import Final, NamedTuple

from auren.modes.thresholds import Cue


class Emergency(NamedTuple):
    """One kind of emergency: how messages express it, and the fixed answer."""

    name: str
    pattern: re.Pattern[str]
    text: str


def _any(*phrases: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(phrases) + r")", re.IGNORECASE)


EMERGENCIES: Final = (
    Emergency(
        "self-harm",
        _any(
            r"suicid",
            r"kill(?:ing)? (?:my ?self|me\b)",
            r"(?:end(?:ing)?|tak(?:e|ing)) my (?:own )?life",
            r"end(?:ing)? it all",
            r"(?:want|wish|going|like|ready) to (?:die|be dead|not (?:be alive|exist|wake up))",
            r"(?:don'?t|do not|no longer) want to (?:live|be alive|exist|be here any ?more|wake up)",
            r"(?:better off|rather be|wish i (?:was|were)) dead",
            r"no (?:reason|point)(?: in| to)? (?:live|living|go(?:ing)? on)",
            r"(?:hurt|harm|cut)(?:ting|ing)? my ?self",
            r"self[- ]?harm",
            r"overdos",
        ),
        "I am glad that you wrote this, and it matters more than any number that I know of you. "
        "Please talk to a person right now: call your local emergency number (112 in Europe, 911 in North America, 999 "
        "in the United Kingdom) if you are in danger, or a crisis line such as 988 in the United States and Canada or "
        "116 123 in many European countries. "
        "If somebody you trust can be with you, ask them to come. "
        "I am a program and cannot help you in this the way a person can.",
    ),
    Emergency(
        "body",
        _any(
            r"(?:chest|heart) (?:is |really |still )*(?:pain|hurt|tight|pressure|ach)",
            r"(?:pain|pressure|tight\w*|ache|weight) (?:\w+ )?(?:in|on|across) (?:my |the )?(?:chest|heart|left arm)",
            r"heart attack",
            r"(?:can'?t|cannot|can not|hard to|trouble|struggling to|unable to) (?:\w+ )?breath",
            r"short(?:ness)? of breath",
            r"faint(?:ed|ing)?\b",
            r"pass(?:ed|ing)? out",
            r"black(?:ed|ing)? out",
            r"(?:lost|losing|lose) consciousness",
            r"unconscious",
            r"collaps(?:ed|ing)",
            r"(?:face|mouth) (?:is )?droop",
            r"(?:slurred|slurring)",
            r"(?:one side|half) of my (?:body|face)",
            r"seizure",
            r"cough(?:ing|ed)? (?:up )?blood",
            r"bleeding (?:heavily|a lot|badly)",
        ),
        "What you describe can be an emergency, and no wearable can rule that out. "
        "Please call your local emergency number now (112 in Europe, 911 in North America, 999 in the United Kingdom), "
        "or have somebody call for you. "
        "Sit or lie down, do not drive yourself, and stay with somebody until help is there. "
        "I will not judge this by your measurements.",
    ),
)
"""In this order; the first that matches answers."""

CUES: Final[dict[Cue, re.Pattern[str]]] = {
    "greeting": re.compile(
        r"\s*(?:hi|hello|hey|good (?:morning|afternoon|evening))\b[^\w]*(?:neuros|there)?[^\w]*", re.IGNORECASE
    ),
    "feels-off": _any(
        r"feel(?:ing)? (?:\w+ ){0,3}(?:off|bad|awful|terrible|down|low|weird|strange|unwell|tired|exhausted|stressed)",
        r"not (?:feeling )?(?:well|myself|right|great|good|ok(?:ay)?)\b",
        r"something (?:is|feels|'s) (?:off|wrong)",
        r"(?:exhausted|worn out|burn(?:ed|t) out|stressed(?: out)?|overwhelmed)\b",
    ),
}

FEELS_OFF: Final[frozenset[Cue]] = frozenset({"feels-off"})


def emergency(message: str) -> Emergency | None:
    """The emergency that a message expresses, if any."""
    plain = message.replace("\u2019", "'")
    return next((kind for kind in EMERGENCIES if kind.pattern.search(plain)), None)


def cues(message: str) -> frozenset[Cue]:
    """What else a message expresses. A greeting is one only when it is all of the message."""
    plain = message.replace("\u2019", "'")
    found: set[Cue] = set()
    if CUES["greeting"].fullmatch(plain):
        found.add("greeting")
    if CUES["feels-off"].search(plain):
        found.add("feels-off")
    return frozenset(found)
