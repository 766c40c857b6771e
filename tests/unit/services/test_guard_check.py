"""The check of a sentence: each rule by its example, numbers in every way of writing, rounding, and what passes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.neuros.guard.check import LONGEST_SENTENCE, Fault, Known, check, numbers_of
from auren.neuros.guard.claims import DOCUMENT
from auren.neuros.guard.numbers import UNITS, KnownNumber, amounts, by_family
from auren.neuros.guard.text import plain
from auren.neuros.protocols import PROTOCOLS
from auren.neuros.wording import NO_MODEL, RECOMMENDATIONS, REMARKS, SEE_SOMEBODY

NOTHING = Known()
RULES = [(rule.kind, pattern, example) for rule in DOCUMENT.rules for pattern, example in rule.patterns.items()]
ANYWHERE = [(kind, pattern, says) for kind, patterns in DOCUMENT.anywhere.items() for pattern, says in patterns.items()]


@pytest.mark.parametrize(("kind", "pattern", "example"), [*RULES, *ANYWHERE], ids=lambda value: None)
def test_every_pattern_finds_its_example(kind: str, pattern: str, example: str) -> None:
    whole = re.sub(r"<([a-z]+)>", lambda match: f"(?:{DOCUMENT.words[match[1]]})", pattern)
    assert re.search(whole, plain(example)), "the pattern by itself"
    fault = check(example, NOTHING)
    assert fault is not None
    assert fault.kind == kind


@pytest.mark.parametrize(
    ("kind", "word"), [(rule.kind, word) for rule in DOCUMENT.rules if not rule.patterns for word in rule.words.split()]
)
def test_every_word_that_suffices_is_found(kind: str, word: str) -> None:
    fault = check(f"This may be {word}.", NOTHING)
    assert fault is not None
    assert fault.kind == kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("forty-two ms", [(42, "ms")]),
        ("one hundred and twenty-five", [(125, None)]),
        ("two thousand five hundred steps", [(2500, "{steps}")]),
        ("fifteen point five", [(15.5, None)]),
        ("seven and a half hours", [(7.5, "h")]),
        ("an hour and a half", [(1.5, "h")]),
        ("half an hour", [(0.5, "h")]),
        ("a quarter of an hour", [(15, "min")]),
        ("7\u00bd hours", [(7.5, "h")]),
        ("twice", [(2, "1")]),
        ("halved", [(0.5, "1")]),
        ("a dozen", [(12, None)]),
        ("a third of it", [(0.3333, "1")]),
        ("the third night", [(3, "d")]),
        ("the twenty-first", [(21, None)]),
        ("in the second week", [(2, "wk")]),
        ("a second, please", []),
        ("this one", []),
        ("one hour", [(1, "h")]),
        ("60-65 ms", [(60, "ms"), (65, "ms")]),
        ("60 to 65 bpm", [(60, "/min"), (65, "/min")]),
        ("between 60 and 65 %", [(60, "%"), (65, "%")]),
        ("120/80 mmHg", [(120, "mm[Hg]"), (80, "mm[Hg]")]),
        ("24/7", [(24, None), (7, None)]),
        ("7 hours and 12 minutes", [(432, "min")]),
        ("7h12", [(432, "min")]),
        ("at 23:40", [(1420, "clock")]),
        ("at 11.40 pm", [(1420, "clock")]),
        ("12 am", [(0, "clock")]),
        ("14 March", [(314, "date")]),
        ("March 14th", [(314, "date")]),
        ("2026-03-14", [(314, "date")]),
        ("8,437 steps", [(8437, "{steps}")]),
        ("12 345 steps", [(12345, "{steps}")]),
        ("36,6 \u00b0C", [(36.6, "Cel")]),
        ("\u0664\u0662 ms", [(42, "ms")]),
        ("5.2 km", [(5.2, "km")]),
        ("60ms", [(60, "ms")]),
        ("call 112", []),
        ("SpO2 and VO2max", []),
        ("three hundred thousand steps", [(300_000, "{steps}")]),
        ("in the low forties", [(40, None)]),
        ("a few ms, more ms", []),
        ("two days and a half", [(2.5, "d")]),
        ("45 mL/kg/min", [(45, "mL/kg/min")]),
    ],
)
def test_numbers_are_read(text: str, expected: list[tuple[float, str | None]]) -> None:
    assert [(amount.readings[0][0], amount.unit) for amount in amounts(plain(text))] == expected


@pytest.mark.parametrize(
    ("known", "sentence", "passes"),
    [
        (KnownNumber(61.5, "/min"), "It was 61.5.", True),
        (KnownNumber(61.5, "/min"), "It was 62.", True),
        (KnownNumber(61.6, "/min"), "It was 61.", False),
        (KnownNumber(61.5, "/min"), "It was 60.", False),
        (KnownNumber(7.2, "h"), "It was 7 hours.", True),
        (KnownNumber(0.6, "Cel"), "It was 1 degree.", False),
        (KnownNumber(0.003, "Cel"), "It was 0 degrees.", True),
        (KnownNumber(8437, "{steps}"), "It was 8,400 steps.", False),
        (KnownNumber(8437, "{steps}"), "It was about 8,400 steps.", True),
        (KnownNumber(8437, "{steps}"), "It was about 9,000 steps.", False),
        (KnownNumber(8437, "{steps}"), "It was about 8,450 steps.", False),
        (KnownNumber(3, "d"), "You slept badly 3 days ago.", True),
        (KnownNumber(3, "d"), "You slept 3 days.", False),
        (KnownNumber(-12, "%"), "It is 12 % lower.", True),
        (KnownNumber(50, "%"), "It is half of that.", True),
        (KnownNumber(100, "%"), "It is twice as much.", True),
        (KnownNumber(2, "1"), "It is twice as much.", True),
        (KnownNumber(2, "d"), "It was 48 hours ago.", True),
        (KnownNumber(3, "d"), "It was 3.", False),
        (KnownNumber(3, "ms"), "There were 3 workouts.", False),
        (KnownNumber(3), "There were 3 workouts.", True),
        (KnownNumber(1420, "clock"), "It was at 23:40.", True),
        (KnownNumber(1420, "clock"), "It was at 1420.", False),
        (KnownNumber(5200, "m"), "It was 5.2 km.", True),
    ],
)
def test_a_known_number_passes_rounded_and_in_another_unit(known: KnownNumber, sentence: str, passes: bool) -> None:
    fault = check(sentence, Known([known]))
    assert (fault is None) is passes
    assert passes or (fault is not None and fault.kind == "number")


def test_a_number_passes_only_for_what_it_was_measured_of() -> None:
    known = Known([KnownNumber(61, "/min", "heart_rate"), KnownNumber(45, "ms", "hrv_rmssd"), KnownNumber(4)])
    assert check("Your heart rate was 61.", known) is None
    assert check("Your resting heart rate was 61.", known) == Fault("number", "61")
    assert check("Your HRV was 61.", known) == Fault("number", "61")
    assert check("Your HRV was 4.", known) == Fault("number", "4")
    assert check("Your heart rate was 61 and your HRV was 45.", known) is None
    assert check("Count to 4.", known) is None


@pytest.mark.parametrize("sentence", ["It was xlii ms.", "It was zweiundvierzig bpm.", "It was quarante kcal."])
def test_a_number_that_cannot_be_read_is_unknown(sentence: str) -> None:
    fault = check(sentence, NOTHING)
    assert fault is not None
    assert fault.kind == "number"


def test_an_unknown_unit_is_an_error_of_ours() -> None:
    with pytest.raises(KeyError):
        Known([KnownNumber(1, "furlong")])


def test_texts_of_ours_pass_and_lend_their_numbers() -> None:
    text = "Your heart rate variability has fallen to half or less within 2 days."
    known = Known(texts=[text])
    assert check(text, NOTHING) is not None
    assert check(text, known) is None
    assert check("Wait 2 days.", known) is None
    assert check("Wait 3 days.", known) == Fault("number", "3 d")


def test_names_and_avoided_phrases() -> None:
    assert check("Anna slept well.", NOTHING) == Fault("others", "Anna slept")
    assert check("Anna slept well.", Known(names=["Anna Schmidt"])) is None
    known = Known(avoid=["Crush it", "don't worry"])
    assert check("Let us CRUSH it.", known) == Fault("phrase", "crush it")
    assert check("Don\u2019t worry.", known) == Fault("phrase", "don't worry")
    assert check("Let us crush items.", known) is None


def test_a_sentence_has_a_largest_length() -> None:
    assert check("a" * LONGEST_SENTENCE, NOTHING) is None
    fault = check("a" * (LONGEST_SENTENCE + 1), NOTHING)
    assert fault is not None
    assert fault.kind == "length"


@pytest.mark.parametrize("sentence", [NO_MODEL, SEE_SOMEBODY, *REMARKS.values(), *sum(RECOMMENDATIONS.values(), ())])
def test_what_the_rules_say_passes(sentence: str) -> None:
    assert check(sentence, NOTHING) is None


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_exercises_pass_with_their_own_numbers(name: str) -> None:
    texts = PROTOCOLS[name].texts
    known = Known(number for text in texts for number in numbers_of(text))
    assert [check(text, known) for text in texts] == [None] * len(texts)


@given(st.floats(0.01, 9999, allow_nan=False), st.sampled_from(["ms", "/min", "%", "kg"]), st.integers(0, 2))
def test_a_known_number_passes_however_it_is_rounded_within_a_tenth(value: float, unit: str, decimals: int) -> None:
    written = f"{value:.{decimals}f}"
    shown = {"/min": "bpm"}.get(unit, unit)
    fault = check(f"It was {written} {shown}.", Known([KnownNumber(value, unit)]))
    assert fault is None or abs(float(written) - value) > 0.1 * value


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_an_unknown_whole_number_never_passes(known: int, written: int) -> None:
    fault = check(f"It was {written} ms.", Known([KnownNumber(known, "ms")]))
    assert (fault is None) is (known == written)


@given(st.text(max_size=300))
def test_any_sentence_is_read(sentence: str) -> None:
    check(sentence, NOTHING)


@given(st.integers(0, 1_000_000))
def test_digits_are_found_wherever_they_stand(number: int) -> None:
    for text in (f"x{number}y", f"It is {number}.", f"({number})", f"a-{number}-b"):
        assert list(amounts(text)), text


@pytest.mark.parametrize("sentence", ["1" * 600, "1 " * 300, "one " * 150, "you have a " * 54, "is the heart " * 46])
@pytest.mark.timeout(60)
def test_hostile_sentences_come_to_an_end(sentence: str) -> None:
    """A pattern that takes exponential time would never end."""
    check(sentence, NOTHING)


def test_units_have_a_family_and_a_size() -> None:
    assert all(unit.factor > 0 for unit in UNITS.values())
    assert by_family([KnownNumber(1, "h"), KnownNumber(2, "d"), KnownNumber(3)]).keys() == {"time", None}
