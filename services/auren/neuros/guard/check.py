"""The last look at a reply, sentence by sentence, whoever wrote it: templates, a model, or who talked it into it.

Pure and fast: some ten microseconds a sentence. It reads English; a sentence in another language fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from functools import lru_cache
from typing import Final, NamedTuple

from auren.neuros.guard.claims import ANYWHERE, CLAIMS, FOREIGN, NO_PEOPLE, OTHERS, Kind, by_ending
from auren.neuros.guard.numbers import KnownNumber, amounts, by_family, is_known, names_numbers
from auren.neuros.guard.text import plain, words

LONGEST_SENTENCE: Final = 600
"""Characters; what is longer is no sentence."""

MOST_FOREIGN: Final = 1
"""Foreign words that an English sentence may hold: `la` and `es` stand in names."""


class Fault(NamedTuple):
    """Why a sentence is left out. `kind` is for metrics and logs; `what` holds words of the reply, so neither."""

    kind: Kind
    what: str


class Known:
    """What a reply may rest on: numbers, names, texts that stand as they are, and phrases that are not used."""

    def __init__(
        self,
        numbers: Iterable[KnownNumber] = (),
        names: Iterable[str] = (),
        texts: Iterable[str] = (),
        avoid: Iterable[str] = (),
        fixed: Iterable[str] = (),
    ) -> None:
        """`texts`: sentences of ours, which pass word for word and whose numbers are known too; `fixed` only pass.

        `names`: of the person and of devices. `avoid`: phrases, in any case. Raises KeyError for an unknown unit.
        """
        sayable = frozenset(text.strip() for text in texts)
        self.texts = sayable.union(fixed)
        self.numbers = by_family([*numbers, *(number for text in sayable for number in _numbers_of_ours(text))])
        self.names = NO_PEOPLE | {word for name in names for word in name.split()}
        self.avoid = frozenset(text for phrase in avoid if (text := _plain_phrase(phrase)))

    def also(self, numbers: Iterable[KnownNumber], names: Iterable[str], fixed: Iterable[str] = ()) -> Known:
        """All of this and more; the texts, which take milliseconds to read, are not read again."""
        more = copy(self)
        more.texts = self.texts.union(fixed)
        more.numbers = {family: list(of) for family, of in self.numbers.items()}
        for family, of in by_family(numbers).items():
            more.numbers.setdefault(family, []).extend(of)
        more.names = self.names | {word for name in names for word in name.split()}
        return more


def check(sentence: str, known: Known) -> Fault | None:
    """What is wrong with a sentence, None when it may be said."""
    if sentence.strip() in known.texts:
        return None
    if len(sentence) > LONGEST_SENTENCE:
        return Fault("length", sentence[:40])
    text = plain(sentence)
    found = words(text)
    return (
        _language(text, found)
        or _claim(text, found)
        or _other_person(sentence, known.names)
        or _phrase(text, known.avoid)
        or _number(text, found, known)
    )


def numbers_of(text: str) -> list[KnownNumber]:
    """The numbers of a text of ours, which a reply may repeat, though never as a measurement."""
    return [
        KnownNumber(value, amount.unit) for amount in amounts(plain(text)) for value, _decimals in amount.readings[:1]
    ]


@lru_cache(maxsize=1024)
def _numbers_of_ours(text: str) -> tuple[KnownNumber, ...]:
    """The same for texts that every reply may repeat: they are few, and each reply asks for them twice."""
    return tuple(numbers_of(text))


_plain_phrase = lru_cache(maxsize=1024)(plain)


def _language(text: str, found: frozenset[str]) -> Fault | None:
    foreign = found & FOREIGN
    if len(foreign) > MOST_FOREIGN:
        return Fault("language", " ".join(sorted(foreign)))
    if not text.isascii():
        letter = next((letter for letter in text if letter.isalpha() and not letter.isascii()), None)
        return Fault("language", letter) if letter else None
    return None


def _claim(text: str, found: frozenset[str]) -> Fault | None:
    for claim in CLAIMS:
        if claim.words.isdisjoint(found):
            continue
        if claim.pattern is None:
            return Fault(claim.kind, min(claim.words & found))
        if match := claim.pattern.search(text):
            return Fault(claim.kind, match[0])
    for kind, pattern in ANYWHERE:
        if match := pattern.search(text):
            return Fault(kind, match[0])
    ended = by_ending(found)
    return Fault(*ended) if ended else None


def _other_person(sentence: str, names: frozenset[str]) -> Fault | None:
    for match in OTHERS.finditer(sentence):
        if match[match.lastindex or 0] not in names:
            return Fault("others", match[0])
    return None


def _phrase(text: str, avoid: frozenset[str]) -> Fault | None:
    for phrase in avoid:
        if phrase in text and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text):
            return Fault("phrase", phrase)
    return None


def _number(text: str, found: frozenset[str], known: Known) -> Fault | None:
    if not names_numbers(text, found):
        return None
    unknown = next((amount for amount in amounts(text) if not is_known(amount, known.numbers)), None)
    return Fault("number", f"{unknown.written} {unknown.unit or ''}".strip()) if unknown else None
