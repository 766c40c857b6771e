"""What people in danger write and the fixed answers, from emergencies.yaml."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final, Literal, NamedTuple

from auren.neuros.documents import Part, parse

Language = Literal["en", "de", "fr", "es"]


class Wording(Part):
    """One kind in one language: the answer, and the phrases that call for it."""

    text: str
    phrases: tuple[str, ...]


class Document(Part):
    """The file: `words` stand as <name> in phrases, `harmless` is taken out of a message before it is searched."""

    words: dict[str, str]
    kinds: dict[str, dict[Language, Wording]]
    harmless: tuple[str, ...]


class Emergency(NamedTuple):
    """One kind of emergency in one language: how messages express it, and the fixed answer."""

    name: str
    language: Language
    pattern: re.Pattern[str]
    text: str


def _any(phrases: tuple[str, ...], words: dict[str, str]) -> re.Pattern[str]:
    whole = r"\b(?:" + "|".join(phrases) + r")"
    return re.compile(re.sub(r"<([a-z]+)>", lambda match: f"(?:{words[match[1]]})", whole))


_FILE: Final = "emergencies.yaml"
_DOCUMENT: Final = parse(files(__package__ or "auren.neuros.guard").joinpath(_FILE).read_text("utf-8"), Document, _FILE)

EMERGENCIES: Final = tuple(
    Emergency(name, language, _any(wording.phrases, _DOCUMENT.words), wording.text)
    for name, languages in _DOCUMENT.kinds.items()
    for language, wording in languages.items()
)
"""In this order; the first that matches answers."""

TEXTS: Final = {(kind.name, kind.language): kind.text for kind in EMERGENCIES}
"""The fixed answers by kind and language."""

HARMLESS: Final = _any(_DOCUMENT.harmless, {})
