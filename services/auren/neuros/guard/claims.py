"""What NEUROS never says, from claims.yaml: rules over the plain form of a sentence. Pure."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final, Literal, NamedTuple

from auren.neuros.documents import Part, parse

Kind = Literal[
    "diagnosis",
    "treatment",
    "harm",
    "number",
    "others",
    "identity",
    "address",
    "leak",
    "language",
    "phrase",
    "length",
]
"""What is wrong with a sentence; a metric's label."""


class Rule(Part):
    """Words that call a rule, and patterns with an example each; without patterns a word suffices."""

    kind: Kind
    words: str
    patterns: dict[str, str] = {}


class Document(Part):
    """The file; see its comments."""

    rules: tuple[Rule, ...]
    words: dict[str, str]
    anywhere: dict[Kind, dict[str, str]]
    disease_endings: str
    medicine_endings: str
    no_diseases: str
    no_people: str
    foreign: str


class Claim(NamedTuple):
    """A rule ready for use."""

    kind: Kind
    words: frozenset[str]
    pattern: re.Pattern[str] | None


def _any(patterns: dict[str, str], words: dict[str, str]) -> re.Pattern[str] | None:
    whole = re.sub(r"<([a-z]+)>", lambda match: f"(?:{words[match[1]]})", "|".join(patterns))
    return re.compile(whole) if patterns else None


_FILE: Final = "claims.yaml"
DOCUMENT: Final = parse(files(__package__ or "auren.neuros.guard").joinpath(_FILE).read_text("utf-8"), Document, _FILE)
"""What the file says."""

CLAIMS: Final = tuple(
    Claim(rule.kind, frozenset(rule.words.split()), _any(rule.patterns, DOCUMENT.words)) for rule in DOCUMENT.rules
)
"""In this order; the first that a sentence fits is its fault."""

ANYWHERE: Final = tuple((kind, re.compile("|".join(patterns))) for kind, patterns in DOCUMENT.anywhere.items())
"""Patterns that need no word: addresses and numbers to call; markup and the signs that frame a prompt."""

NO_PEOPLE: Final = frozenset(DOCUMENT.no_people.split())
"""Words with a capital that name no person."""

FOREIGN: Final = frozenset(DOCUMENT.foreign.split())
"""Common words of other languages, which are none of English."""

_NAME: Final = r"([A-Z][a-z]+|[A-Z]{2,}\d*|[A-Za-z]+\d+)"
_WORDS: Final = rf"(?:[a-z]+ ){{0,2}}(?:{DOCUMENT.words['data']}|HRV)\b"
OTHERS: Final = re.compile(
    rf"\b{_NAME}(?:'s|\u2019s) {_WORDS}"
    rf"|\b{_NAME} (?:slept|told|wrote|said|asked|reported|woke|ran|trained|weighs)\b"
    rf"|\b{_NAME} (?:has|had) (?:an? )?{_WORDS}"
)
"""A name beside data of a body. It reads a sentence as it is written, for capitals tell."""

_DISEASES: Final = tuple(DOCUMENT.disease_endings.split())
_MEDICINES: Final = tuple(DOCUMENT.medicine_endings.split())
_NO_DISEASES: Final = frozenset(DOCUMENT.no_diseases.split())
_LEAST_LETTERS: Final = 7


def by_ending(words: frozenset[str]) -> tuple[Kind, str] | None:
    """A word that ends like the name of a disease or of a medicine."""
    for word in words:
        if len(word) < _LEAST_LETTERS:
            continue
        if word.endswith(_DISEASES) and word not in _NO_DISEASES:
            return "diagnosis", word
        if word.endswith(_MEDICINES):
            return "treatment", word
    return None
