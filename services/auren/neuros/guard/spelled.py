"""Numbers that are written as words, rewritten with digits: forty-two, half an hour, twice, a dozen, third. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_UP_TO_19: Final = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
"""
_UP_TO_90: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_FROM_THIRD: Final = """
    third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth
    seventeenth eighteenth nineteenth twentieth
"""
_UNITS: Final = {word: value for value, word in enumerate(_UP_TO_19.split())}
_PURE_TENS: Final = {word: value for value, word in zip(range(20, 100, 10), _UP_TO_90.split(), strict=True)}
_TENS: Final = {
    **_PURE_TENS,
    **{word.removesuffix("y") + "ies": value for word, value in _PURE_TENS.items()},
    "fourty": 40,
    "ninty": 90,
}
"""Also as people misspell them, and as in `the low forties`."""
_SCALES: Final = {"dozen": 12, "score": 20, "hundred": 100, "thousand": 1000, "million": 1_000_000}
_ORDINALS: Final = {word: value for value, word in enumerate(_FROM_THIRD.split(), start=3)} | {
    "thirtieth": 30,
    "fortieth": 40,
    "fiftieth": 50,
    "hundredth": 100,
}
_PARTS: Final = {"third": 3, "quarter": 4, "fifth": 5, "tenth": 10}
_TIMES: Final = {
    "twice": 2,
    "double": 2,
    "doubled": 2,
    "doubles": 2,
    "doubling": 2,
    "twofold": 2,
    "thrice": 3,
    "triple": 3,
    "tripled": 3,
    "threefold": 3,
    "quadruple": 4,
    "quadrupled": 4,
    "tenfold": 10,
}
_HALVES: Final = frozenset({"half", "halved", "halves", "halving"})

_PART_WORDS: Final = frozenset({*_PARTS, *(word + "s" for word in _PARTS)})
_SINGLE_UNITS: Final = frozenset({"hour", "degree", "percent", "kilo", "beat", "millisecond"})

_PLAIN: Final = "|".join(sorted((*_UNITS, *_TENS), key=len, reverse=True))
_SEQUENCE: Final = re.compile(
    rf"\b(?:(?:an? )?(?:hundred|thousand|dozen|million)s?|{_PLAIN})"
    rf"(?:[ -](?:and )?(?:hundred|thousand|dozen|million|{_PLAIN}))*(?: point(?: (?:{_PLAIN}))+)?\b"
)
_ORDINAL: Final = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})[ -])?(?P<word>first|second|{'|'.join(_ORDINALS)})\b"
    r"(?! (?:of all|thing|things|step|look|place|thought))"
)
_SECOND: Final = re.compile(r"(?<!\ba )\bsecond (?=(?:night|day|week|time|month|year|reading|(?:\w+ )?in a row)\b)")
_AND_A_HALF: Final = re.compile(r"\b(?:an? |(\d+) )?(?:(hour|hours|minutes|days) )?and a half\b")
_FRACTION: Final = re.compile(
    r"\b(an?|one|two|three|four|\d+)[ -](third|thirds|quarter|quarters|fifth|fifths|tenth|tenths)\b"
    r"(?! (?:night|day|week|time|month|year|morning|evening|hour|in a row))"
)
_QUARTER_OF_HOUR: Final = re.compile(r"\b(?:a |one )?quarter of an hour\b")
_HALF_HOUR: Final = re.compile(r"\bhalf[ -](?:an? )?(hour|minute|day)\b")
_HALF: Final = re.compile(r"\b(?:halved|halves|halving|half)\b(?!-)")
_MANY_TIMES: Final = re.compile(rf"\b(?:{'|'.join(_TIMES)})\b")
_A_UNIT: Final = re.compile(r"\b(?:an?|one) (?=(?:hour|degree|percent|kilo|beat|millisecond)\b)")
_ALONE: Final = frozenset({"one"})


def with_digits(text: str, words: frozenset[str]) -> str:
    """A plain text with its number words as digits; a ratio is written `0.5 times`. `one` as a pronoun stays.

    `words` are those of the text: steps for words that it has not are left out, which keeps the check fast.
    """
    for needed, pattern, digits in _STEPS:
        if not needed.isdisjoint(words):
            text = pattern.sub(digits, text)
    return text


def _number(match: re.Match[str]) -> str:
    words = re.split(r"[ -]", match[0])
    if match[0] in _ALONE:
        return match[0]
    whole, _, decimals = match[0].partition(" point ")
    value = _value([word for word in re.split(r"[ -]", whole) if word not in {"a", "an", "and"}])
    if decimals:
        return f"{value}." + "".join(
            str(_UNITS.get(word, _TENS.get(word))) for word in words[words.index("point") + 1 :]
        )
    return str(value)


def _value(words: list[str]) -> int:
    """Of number words in their order: forty two, two hundred five, three thousand."""
    total = current = 0
    for word in words:
        scale = _SCALES.get(word.removesuffix("s") if word.removesuffix("s") in _SCALES else word)
        if scale is None:
            current += _UNITS.get(word, 0) + _TENS.get(word, 0)
        elif scale >= 1000:
            total, current = total + max(current, 1) * scale, 0
        else:
            current = max(current, 1) * scale
    return total + current


def _and_a_half(match: re.Match[str]) -> str:
    whole, unit = match[1] or "1", match[2] or ""
    return f"{whole}.5 {unit}".rstrip()


def _fraction(match: re.Match[str]) -> str:
    count = {"a": 1, "an": 1} | _UNITS
    parts = _PARTS[match[2].removesuffix("s")]
    over = count[match[1]] if match[1] in count else int(match[1])
    return f"{over / parts:.4g} times"


def _ordinal(match: re.Match[str]) -> str:
    word = match["word"]
    if match["tens"] is None:
        return str(_ORDINALS[word]) if word in _ORDINALS else word
    return str(_TENS[match["tens"]] + {"first": 1, "second": 2}.get(word, _ORDINALS.get(word, 0)))


_STEPS: Final[tuple[tuple[frozenset[str], re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (frozenset({"quarter"}), _QUARTER_OF_HOUR, "15 minutes"),
    (frozenset({"half"}), _HALF_HOUR, r"0.5 \1"),
    (_PART_WORDS, _FRACTION, _fraction),
    (_SINGLE_UNITS, _A_UNIT, "1 "),
    (frozenset({"second"}), _SECOND, "2 "),
    (frozenset({*_ORDINALS, *_TENS}), _ORDINAL, _ordinal),
    (frozenset({*_UNITS, *_TENS, *_SCALES, *(scale + "s" for scale in _SCALES)}), _SEQUENCE, _number),
    (frozenset({"half"}), _AND_A_HALF, _and_a_half),
    (_HALVES, _HALF, "0.5 times"),
    (frozenset(_TIMES), _MANY_TIMES, lambda match: f"{_TIMES[match[0]]} times"),
)
"""In this order: the words that a step needs, what it finds, and what it writes instead."""

WORDS: Final = frozenset[str]().union(*(needed for needed, _pattern, _digits in _STEPS))
"""A sentence without any of these and without a digit names no number."""
