"""The numbers of a sentence with their units, and which of them are known. Pure.

A sentence is read in its plain form (text.py). What cannot be read as one number is read as several, and each must be
known; so an unusual way of writing a number can only make a sentence fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from auren.events import METRICS
from auren.neuros.guard.spelled import WORDS, with_digits
from auren.neuros.guard.text import words

Family = str
"""What a unit measures; numbers of one family differ by a factor only."""


class Unit(NamedTuple):
    """A unit: its family, and how many of the family's base it is."""

    family: Family
    factor: float = 1.0


UNITS: Final = {
    "ms": Unit("ms"),
    "/min": Unit("/min"),
    "%": Unit("%"),
    "s": Unit("time", 1 / 60),
    "min": Unit("time"),
    "h": Unit("time", 60),
    "d": Unit("time", 1440),
    "wk": Unit("time", 7 * 1440),
    "mo": Unit("time", 30 * 1440),
    "a": Unit("time", 365 * 1440),
    "Cel": Unit("Cel"),
    "[degF]": Unit("[degF]"),
    "mm[Hg]": Unit("mm[Hg]"),
    "{steps}": Unit("{steps}"),
    "kcal": Unit("kcal"),
    "m": Unit("length"),
    "km": Unit("length", 1000),
    "mL/kg/min": Unit("mL/kg/min"),
    "kg": Unit("kg"),
    "{score}": Unit("{score}"),
    "1": Unit("1"),
    "clock": Unit("clock"),
    "date": Unit("date"),
}
"""Units that a number may be known in: UCUM, `clock` (minutes after midnight) and `date` (100 * month + day)."""

_WRITTEN: Final = {
    "ms": r"milliseconds?|msecs?|ms",
    "mL/kg/min": r"ml/kg/min",
    "/min": r"bpm|rpm|(?:beats?|breaths?)(?:(?: per| a| each|/) ?min(?:ute)?)?|(?:per|/|a) ?min(?:ute)?",
    "%": r"%|percentage points?|per ?cent|pct",
    "min": r"minutes?|mins?",
    "h": r"hours?|hrs?|h",
    "s": r"seconds?|secs?|s",
    "d": r"days?|nights?|d",
    "wk": r"weeks?",
    "mo": r"months?",
    "a": r"years?",
    "[degF]": r"(?:degrees? |\u00b0 ?)?fahrenheit|\u00b0 ?f",
    "Cel": r"degrees?(?: celsius)?|\u00b0(?: ?c(?:elsius)?)?|celsius",
    "mm[Hg]": r"mm ?hg",
    "{steps}": r"steps?",
    "kcal": r"kilocalories|calories|kcals?",
    "km": r"kilomet(?:er|re)s?|kms?",
    "m": r"met(?:er|re)s?|m",
    "kg": r"kilograms?|kilos?|kg",
    "{score}": r"points?",
    "1": r"times|fold|x",
}
_UNIT_OF: Final = {f"u{index}": unit for index, unit in enumerate(_WRITTEN)}
_UNIT: Final = "|".join(f"(?P<u{index}>{words})" for index, words in enumerate(_WRITTEN.values()))
_AMOUNT: Final = re.compile(
    r"(?P<number>\d+(?:[.,]\d+)*)(?P<ordinal>st|nd|rd|th)?(?:[ -]?(?:" + _UNIT + r")(?![a-z]))?(?P<noun> [a-z]{3,}s\b)?"
)
_NOT_NOUNS: Final = frozenset({"this", "was", "has", "its", "his", "less", "versus", "plus", "minus", "does", "yours"})
_NAMES: Final = re.compile(r"\b(?:vo2 ?max|vo2|sp?o2|co2|h2o)\b")
_DIGIT: Final = re.compile(r"\d")
_SURE_UNITS: Final = frozenset({"ms", "bpm", "milliseconds", "mmhg", "kcal"})
_TELLING: Final = WORDS | _SURE_UNITS
_NO_NUMBER: Final = re.compile(
    r"\b(?!(?:in|of|few|fewer|more|many|some|several|per|the|and|or|extra|less|usual|average|these|those|over) )"
    r"[a-z]{2,} "
    r"(?:ms|bpm|milliseconds|mmhg|kcal)\b"
)
"""Before these units stands a number; another word there is one that cannot be read: zweiundvierzig ms, xlii bpm."""
_FEW: Final = re.compile(
    r"\b(?:two|three|four) "
    r"(?=of your values|(?:(?:small|simple|easy|gentle|quiet|possible) )?(?:things|ideas|options|ways|questions)\b)"
)
"""Counts of what the reply itself names."""
_CALL: Final = re.compile(r"\b(?:call|dial|ring|phone) (?:112|911|999|988)\b")
_CLOCK: Final = re.compile(
    r"\b(\d{1,2})(?:[:.h](\d\d))?(?::\d\d)? ?(a\.?m\b|p\.?m\b|o'clock)|\b(\d{1,2}):(\d\d)(?::\d\d)?\b"
)
_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH: Final = rf"({'|'.join(_MONTHS)})(?:uary|ruary|ch|il|e|y|ust|t?ember|ober|t)?\.?"
_DATE: Final = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH}\b|\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?\b"
    r"|\b\d{4}-(\d\d)-(\d\d)\b"
)
_DATED: Final = re.compile(rf"\b{_MONTH}\b|\d-\d\d-\d")
_QUOTIENT: Final = re.compile(r"\b(?:(\d+)[ -])?([1-9])/([2-9]|10)\b(?![/\d])")
_THOUSANDS: Final = re.compile(r"\b\d{1,3}(?:[ '_]\d{3})+\b")
_ABOUT: Final = re.compile(
    r"(?:about|around|roughly|nearly|almost|approximately|some|close to|just (?:over|under|above|below)|~|or so) ?$"
)
_JOINED: Final = re.compile(r" ?(?:-|to|or|/|and) ?")
_WHEN: Final = re.compile(r" (?:ago|in a row|before|after|later|earlier)\b")
_THEN: Final = re.compile(r"(?:,? ?and |, ?| ?)")

_HRV: Final = frozenset({"hrv_rmssd", "hrv_sdnn", "hrv_rmssd_fall", "hrv_sdnn_fall"})

METRIC_WORDS: Final = {
    r"(?:hrv|heart[- ]rate[- ]variability|rmssd|sdnn)": _HRV,
    r"resting (?:heart[- ]?rate|pulse|hr)": frozenset({"resting_heart_rate"}),
    r"(?:heart[- ]?rate|pulse|hr)": frozenset(
        name for name in METRICS if name.endswith(("heart_rate", "rate_min", "rate_max"))
    ),
    r"(?:recovery|recovered)": frozenset({"recovery_score", "stress"}),
    r"(?:strain)": frozenset({"strain"}),
    r"(?:stress)": frozenset({"stress", "recovery_score"}),
    r"(?:oxygen|spo2)": frozenset({"spo2", "vo2_max"}),
    r"(?:respirat\w+|breathing rate)": frozenset({"respiratory_rate"}),
    r"(?:temperature)": frozenset(name for name in METRICS if METRICS[name].unit == "Cel"),
    r"(?:blood pressure|systolic|diastolic)": frozenset({"blood_pressure_systolic", "blood_pressure_diastolic"}),
    r"(?:slept|asleep|sleep|rem)": frozenset(name for name in METRICS if name.startswith("sleep_"))
    | {"sleep_efficiency", "rem_variation"},
    r"(?:weigh\w*|body mass)": frozenset({"body_mass"}),
}
"""How sentences name a metric, and which ones that may be."""

_METRIC_OF: Final = {f"m{index}": metrics for index, metrics in enumerate(METRIC_WORDS.values())}
_METRIC: Final = re.compile(r"\b(?:" + "|".join(f"(?P<m{i}>{words})" for i, words in enumerate(METRIC_WORDS)) + r")\b")
_FAMILIES: Final = {name: UNITS[metric.unit].family for name, metric in METRICS.items()} | {
    "stress": "1",
    "sleep_efficiency": "%",
}


class KnownNumber(NamedTuple):
    """A number that a reply may hold. `unit` as in `UNITS`, None for a bare number.

    `metric`: what it was measured of, or compared for. Without one (an age, a step of an exercise) a sentence that
    gives it as a person's measurement fails.
    """

    value: float
    unit: str | None = None
    metric: str | None = None


class Amount(NamedTuple):
    """A number of a sentence: every way to read it as (value, decimals), its unit, and what it is said of."""

    written: str
    readings: tuple[tuple[float, int], ...]
    unit: str | None
    metrics: frozenset[str]
    about: bool = False
    counts: bool = False


def amounts(text: str) -> Iterator[Amount]:
    """The numbers of a plain text (text.py)."""
    found_words = words(text)
    if not WORDS.isdisjoint(found_words):
        text = with_digits(_FEW.sub(" ", text), found_words)
    if not _SURE_UNITS.isdisjoint(found_words) and (match := _NO_NUMBER.search(text)):
        yield Amount(match[0], (), None, frozenset())
    if "o2" in text or "2o" in text:
        text = _NAMES.sub(" ", text)
    text, special = _special(text)
    yield from special
    found = list(_AMOUNT.finditer(text))
    units = [_unit(match) for match in found]
    _spread(text, found, units)
    after = 0
    skip = False
    for index, match in enumerate(found):
        if skip:
            skip = False
            after = match.end()
            continue
        joined = _duration(text, found, units, index)
        skip = joined is not None
        readings, unit = joined or (_readings(match["number"]), units[index])
        metrics = _said_of(text[after : match.start()], text[found[index + 1].end() if skip else match.end() :])
        about = _ABOUT.search(text[max(after, match.start() - 16) : match.start()]) is not None
        yield Amount(match["number"], readings, unit, metrics, about, unit is None and _counts(match))
        after = match.end()


def is_known(amount: Amount, known: dict[str | None, list[KnownNumber]]) -> bool:
    """Whether one reading of the amount is a known number. `known` by family, as `by_family` makes it."""
    return any(_is_known(amount, value, decimals, known) for value, decimals in amount.readings)


def by_family(numbers: Iterable[KnownNumber]) -> dict[str | None, list[KnownNumber]]:
    """Known numbers by the family of their unit. Raises KeyError for a unit that is not in `UNITS`."""
    found: dict[str | None, list[KnownNumber]] = {}
    for number in numbers:
        family = UNITS[number.unit].family if number.unit is not None else None
        found.setdefault(family, []).append(number)
    return found


def _is_known(amount: Amount, value: float, decimals: int, known: dict[str | None, list[KnownNumber]]) -> bool:
    if amount.unit is None:
        return any(
            _close(number.value, value, decimals, amount.about) and _fits(number, amount)
            for family, numbers in known.items()
            if family not in {"time", "clock", "date"} and (not amount.counts or family in {None, "1"})
            for number in numbers
        )
    unit = UNITS[amount.unit]
    return any(
        _close(number.value * (UNITS[number.unit or amount.unit].factor) / unit.factor, value, decimals, amount.about)
        and _fits(number, amount)
        for number in known.get(unit.family, ())
    ) or (unit.family == "1" and _is_share(amount, value, decimals, known))


def _is_share(amount: Amount, ratio: float, decimals: int, known: dict[str | None, list[KnownNumber]]) -> bool:
    """Half is 50 %, and what doubled rose by 100 %."""
    share = 100 * ratio if ratio <= 1 else 100 * (ratio - 1)
    return any(
        _close(number.value, share, max(0, decimals - 2), amount.about) and _fits(number, amount)
        for number in known.get("%", ())
    )


def _fits(number: KnownNumber, amount: Amount) -> bool:
    """Whether the number is known of what the sentence says it of; a unit that the metric has not is said of no one."""
    if not amount.metrics or number.metric in amount.metrics:
        return True
    if amount.unit is None or amount.unit == "%":
        return False
    family = UNITS[amount.unit].family
    return all(_FAMILIES.get(metric) != family for metric in amount.metrics)


LARGEST_ROUNDING: Final = 0.1
"""By which share of itself rounding may change a number: 7 for 7.2 hours, never 1 for 0.6."""

_EXACT: Final = 0.005 + 1e-9
"""Two decimals are all that is ever shown."""


def _close(known: float, written: float, decimals: int, about: bool) -> bool:
    """Whether `written` is the known number, rounded to its decimals; after `about`, to two digits that count."""
    known = abs(known)
    difference = abs(known - written)
    if difference <= _EXACT:
        return True
    if difference > LARGEST_ROUNDING * known:
        return False
    step = 10.0**-decimals
    if about and known >= 100:
        step = 10.0 ** (len(str(int(known))) - 2)
    return difference <= step / 2 + 1e-9 and _is_multiple(written, step)


def _is_multiple(value: float, step: float) -> bool:
    return abs(value / step - round(value / step)) < 1e-6


def _readings(number: str) -> tuple[tuple[float, int], ...]:
    """Each way to read digits with dots and commas: 1,234 is 1234, or with a decimal comma 1.234."""
    found: list[tuple[float, int]] = []
    for point, comma in ((".", ","), (",", ".")):
        whole, _, decimals = number.partition(point)
        groups = whole.split(comma)
        if (comma in decimals or point in decimals) or not all(len(group) == 3 for group in groups[1:]):
            continue
        reading = (float("".join(groups) + ("." + decimals if decimals else "")), len(decimals))
        if reading not in found:
            found.append(reading)
    return tuple(found)


def _unit(match: re.Match[str]) -> str | None:
    name = match.lastgroup if match.lastgroup in _UNIT_OF else None
    if name is None:
        name = next((group for group in _UNIT_OF if match[group]), None)
    return _UNIT_OF[name] if name else None


def _spread(text: str, found: list[re.Match[str]], units: list[str | None]) -> None:
    """The first number of a range has the unit of the second: 60 to 65 ms."""
    for index in range(len(found) - 2, -1, -1):
        if units[index] is None and units[index + 1] is not None:
            between = text[found[index].end() : found[index + 1].start()]
            joined = _JOINED.fullmatch(between)
            if joined and ("and" not in between or "between" in text[: found[index].start()]):
                units[index] = units[index + 1]


def _duration(
    text: str, found: list[re.Match[str]], units: list[str | None], index: int
) -> tuple[tuple[tuple[float, int], ...], str] | None:
    """Hours and minutes that belong together, in minutes: 7 hours 12 minutes, 7h12."""
    if index + 1 >= len(found) or units[index] != "h":
        return None
    between = text[found[index].end() : found[index + 1].start()]
    glued = units[index + 1] is None and between == ""
    if not glued and not (units[index + 1] == "min" and _THEN.fullmatch(between)):
        return None
    hours, minutes = _readings(found[index]["number"]), _readings(found[index + 1]["number"])
    return tuple((60 * h + m, 0) for h, _ in hours for m, _ in minutes), "min"


def _counts(match: re.Match[str]) -> bool:
    """Whether things are counted that are none of the units: 3 workouts."""
    return match["noun"] is not None and match["noun"].strip() not in _NOT_NOUNS


def _said_of(before: str, after: str) -> frozenset[str]:
    """The metrics that the words before a number name, from the number before it on; or those right after it."""
    if _WHEN.match(after):
        return frozenset()
    found = [_METRIC_OF[match.lastgroup] for match in _METRIC.finditer(before) if match.lastgroup]
    if not found and (match := _FOLLOWS.match(after)) and match.lastgroup:
        found = [_METRIC_OF[match.lastgroup]]
    return frozenset().union(*found)


_FOLLOWS: Final = re.compile(
    r" (?:of |as your |is your |for your |was your )(?:deep |rem |light )?"
    "(?:" + "|".join(f"(?P<m{i}>{words})" for i, words in enumerate(METRIC_WORDS)) + r")\b"
)


def _special(text: str) -> tuple[str, list[Amount]]:
    """Times, dates, fractions and grouped thousands, and the text without them."""
    found: list[Amount] = []

    def take(unit: str, match: re.Match[str], *values: float) -> str:
        found.append(Amount(match[0], tuple((value, 0) for value in values), unit, frozenset()))
        return " ; "

    text = _CALL.sub(" ", text)
    if _DATED.search(text):
        text = _DATE.sub(lambda match: take("date", match, _date(match)), text)
    text = _CLOCK.sub(lambda match: take("clock", match, *_clock(match)), text)
    text = _THOUSANDS.sub(lambda match: re.sub(r"[ '_]", "", match[0]), text)
    if "/" in text:
        text = _QUOTIENT.sub(_quotient, text)
    return text, found


def _quotient(match: re.Match[str]) -> str:
    whole, over, parts = match[1], int(match[2]), int(match[3])
    if over >= parts:
        return match[0]
    value = f"{(int(whole) if whole else 0) + over / parts:.4g}"
    return value if whole else f"{value} times"


def _date(match: re.Match[str]) -> float:
    day, month, other_month, other_day, iso_month, iso_day = match.groups()
    if iso_month:
        return 100 * int(iso_month) + int(iso_day)
    return 100 * (_MONTHS.index(month or other_month) + 1) + int(day or other_day)


def _clock(match: re.Match[str]) -> tuple[float, ...]:
    """Minutes after midnight; without am or pm both halves of the day are meant."""
    hour, minute = int(match[1] or match[4]), int(match[2] or match[5] or 0)
    half = (match[3] or "")[:1]
    if half == "a":
        return (hour % 12 * 60 + minute,)
    if half == "p":
        return ((hour % 12 + 12) * 60 + minute,)
    return (hour * 60 + minute,) if half == "" else (hour * 60 + minute, (hour + 12) % 24 * 60 + minute)


def names_numbers(text: str, found: frozenset[str]) -> bool:
    """Whether a plain text with these words can name a number at all."""
    return _DIGIT.search(text) is not None or not _TELLING.isdisjoint(found)
