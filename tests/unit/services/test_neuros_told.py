"""What people tell of themselves in so many words."""

from __future__ import annotations

import pytest

from auren.neuros.told import told_of_themselves
from tests.unit.services.talking import NOW


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Remember that I work nights", [("fact", "I work nights")]),
        ("please remember: I am left-handed.", [("fact", "I am left-handed.")]),
        ("Remember I have a dog\nand a cat", [("fact", "I have a dog\nand a cat")]),
        ("REMEMBER THAT I hate mornings", [("fact", "I hate mornings")]),
        ("I really like tea in the evening. How am I?", [("preference", "I really like tea in the evening")]),
        ("I don\u2019t like running", [("preference", "I don't like running")]),
        (
            "I usually sleep late, and I love coffee!",
            [("preference", "I love coffee"), ("fact", "I usually sleep late, and I love coffee")],
        ),
        ("I work from home", [("fact", "I work from home")]),
        ("I am training for a marathon", [("fact", "I am training for a marathon")]),
        ("I like tea. I like coffee.", [("preference", "I like tea")]),
    ],
)
def test_what_is_told(message: str, told: list[tuple[str, str]]) -> None:
    found = list(told_of_themselves(message, NOW, "s"))
    assert [(item.kind, item.text) for item in found] == told
    assert {(item.source, item.said_at, item.session_id, item.confidence) for item in found} == {
        ("said", NOW, "s", 1.0)
    }


@pytest.mark.parametrize(
    "message",
    [
        "",
        "How am I?",
        "Do you remember that I work nights?",
        "Remember me?",
        "Remember when we spoke of my sleep?",
        "Remember",
        "Should I like running more?",
        "Can I love mornings?",
        "What if I always run at night?",
        "I would like some tea",
        "My wife and I liked it",
        "Remember that " + "x" * 301,
    ],
)
def test_what_is_none(message: str) -> None:
    assert list(told_of_themselves(message, NOW)) == []


def test_what_is_told_at_length_is_cut() -> None:
    (item,) = told_of_themselves("I like " + "tea " * 300, NOW)
    assert 100 < len(item.text) <= 210
