"""One plain form of a text for all rules, so that no trick of writing hides a word from them. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_PUNCTUATION: Final = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201b": "'",
    "\u02bc": "'",
    "\u00b4": "'",
    "`": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2010": "-",
    "\u2011": "-",
    "\u2012": "-",
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2044": "/",
    "\u2248": "~",
}

_LOOKALIKES: Final = dict(
    zip(
        "\u0430\u0431\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455\u0501"
        "\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03bc\u0131\u0142\u00f8",
        "abbekmhopctyxijsd" + "aeikvoptyxu" + "ilo",
        strict=True,
    )
)
"""Small Cyrillic, Greek and Latin letters that people read as the Latin ones beside them."""

_PLAIN: Final = str.maketrans({**_PUNCTUATION, **_LOOKALIKES})
_FRACTION: Final = re.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])")
"""Between a digit and a vulgar fraction: 7\u00bd must not become 71/2."""

_LEET: Final = str.maketrans("013457@$!|", "oieastasil")
_LEET_WORD: Final = re.compile(r"(?:[a-z]+[013457@$!|]|[013457@$|][a-z])[a-z013457@$!|]*")
_SPACED: Final = re.compile(r"(?<![a-z])(?:[a-z][ .*_-]{1,2}){3,}[a-z](?![a-z])")
_GAPS: Final = re.compile(r"[ .*_-]+")
_WORDS: Final = re.compile(r"[a-z]+(?:'[a-z]+)?")


def plain(text: str) -> str:
    """The text in small Latin letters without accents, with ASCII digits, quotes and dashes, and single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", _FRACTION.sub(" ", text).casefold()).casefold()
        text = "".join(_shown(character) for character in text).translate(_PLAIN)
    return " ".join(text.lower().replace("`", "'").split())


def words(text: str) -> frozenset[str]:
    """The words of a plain text."""
    return frozenset(_WORDS.findall(text))


def disguised(text: str) -> str:
    """What a plain text says if digits stand for letters (su1c1de) and letters stand apart (d i e)."""
    joined = _SPACED.sub(lambda match: _GAPS.sub("", match[0]), text)
    return _LEET_WORD.sub(lambda match: match[0].translate(_LEET), joined)


def _shown(character: str) -> str:
    """What remains of a character: nothing of accents and of what cannot be seen, the digit of a foreign digit."""
    if character < "\x80":
        return character
    category = unicodedata.category(character)
    if category in {"Cf", "Mn", "Me"}:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return " " if category == "Zs" else character
