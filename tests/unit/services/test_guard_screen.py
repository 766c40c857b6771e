"""The screen: its phrases, its fixed texts, and cues. Wordings of emergencies stand in the red-team set."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.neuros.guard.emergencies import EMERGENCIES, TEXTS
from auren.neuros.guard.screen import cues, emergency
from auren.neuros.guard.text import disguised, plain

LANGUAGES = {"en", "de", "fr", "es"}


def test_every_kind_is_answered_in_every_language() -> None:
    assert {(kind.name, kind.language) for kind in EMERGENCIES} == {
        (name, language) for name, _ in TEXTS for language in LANGUAGES
    }
    assert {name for name, _ in TEXTS} == {
        *("self-harm", "overdose", "chest", "stroke", "breathing", "fainting", "bleeding", "violence")
    }


@pytest.mark.parametrize("kind", EMERGENCIES, ids=lambda kind: f"{kind.name}-{kind.language}")
def test_an_emergency_text_sends_to_people_and_judges_nothing(kind: Any) -> None:
    assert "112" in kind.text
    assert not re.search(r"diagnos|probably|likely|you have|wahrscheinlich|sans doute|probablement", kind.text)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Hi!", {"greeting"}),
        ("hello neuros", {"greeting"}),
        ("Hi, how is my pulse?", set()),
        ("I feel a bit off today", {"feels-off"}),
        ("I\u2019m not feeling well", {"feels-off"}),
        ("something feels wrong", {"feels-off"}),
        ("something's off", {"feels-off"}),
        ("How did I sleep?", set()),
    ],
)
def test_cues(message: str, expected: set[str]) -> None:
    assert cues(message) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I\u2019m \u201cfine\u201d \u2014 really", 'i\'m "fine" - really'),
        ("su\u200bi\u00adcide", "suicide"),
        ("\uff33\uff55\uff49\uff43\uff49\uff44\uff45", "suicide"),
        ("\u0455u\u0456\u0441\u0456d\u0435", "suicide"),
        ("M\u00f6chte  daf\u00fcr\n\u00c9v\u00c9nement Stra\u00dfe", "mochte dafur evenement strasse"),
        ("7\u00bd and \u0664\u0662", "7 1/2 and 42"),
        ("\u2103", "\u00b0c"),
    ],
)
def test_the_plain_form(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_disguises_are_seen_through() -> None:
    assert disguised("k1ll mys3lf") == "kill myself"
    assert disguised("d i e now") == "d i e now"
    assert disguised("s.u.i.c.i.d.e") == "suicide"


@given(st.text(max_size=200))
def test_any_text_is_read_and_a_plain_one_stays(text: str) -> None:
    once = plain(text)
    assert plain(once) == once
    emergency(text)
    cues(text)


@given(st.text(alphabet="abc de,.!?", max_size=80), st.text(alphabet="abc de,.!?", max_size=80))
def test_a_crisis_is_found_whatever_stands_around_it(before: str, after: str) -> None:
    found = emergency(f"{before} I want to kill myself. {after}")
    assert found is not None
    assert found.name == "self-harm"


@pytest.mark.parametrize("message", ["a " * 2000, "can't " * 660, "my chest is so very " * 200, "he the she " * 360])
@pytest.mark.timeout(60)
def test_the_longest_message_comes_to_an_end(message: str) -> None:
    """A pattern that takes exponential time would never end."""
    emergency(message)
