"""What NEUROS says by rules: common questions, in the words that people get to read."""

from __future__ import annotations

from auren.latest import Latest
from tests.unit.services.talking import talk, value


async def test_an_old_recovery_makes_the_stress_that_is_derived_from_it_old_too() -> None:
    found = await talk(latest=Latest({"recovery_score": value("recovery_score", 71, hours=40)}, "redis"))
    assert "Too old to judge by: recovery score." in found.said
