"""What NEUROS says by rules: common questions, in the words that people get to read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from auren.latest import Latest
from auren.modes import Decision, Evidence, Mode
from auren.neuros import choice
from auren.neuros.knowledge import ActivePattern, Knowledge
from auren.neuros.wording import (
    ABILITIES,
    ADVICE_OF,
    NO_BASELINE,
    NO_KNOWLEDGE,
    NO_VALUES,
    NOTHING_TO_JUDGE,
    PATTERNS,
    REMARKS,
    REMARKS_OF,
    TO_REMEMBER,
    WELCOME,
    asked,
    shown,
    title,
)
from tests.unit.services.talking import AWAY, NOW, month, says, talk, value, values

TODAY = NOW.date()


async def test_an_old_recovery_makes_the_stress_that_is_derived_from_it_old_too() -> None:
    found = await talk(latest=Latest({"recovery_score": value("recovery_score", 71, hours=40)}, "redis"))
    assert "Too old to judge by: recovery score." in found.said


@pytest.mark.parametrize(
    ("number", "unit", "metric", "words"),
    [
        (432, "min", "sleep_total", "7 hours 12 minutes"),
        (420.4, "min", "sleep_total", "7 hours"),
        (61, "min", "sleep_deep", "1 hour 1 minute"),
        (59.4, "min", "sleep_rem", "59.4 minutes"),
        (59.6, "min", "sleep_rem", "1 hour"),
        (5234, "m", "distance", "5.23 km"),
        (999, "m", "distance", "999 m"),
        (36.625, "Cel", "body_temperature", "36.62 °C"),
        (8437, "{steps}", "steps", "8437 steps"),
        (48, "ms", "hrv_sdnn", "48 ms"),
        (8.2, "{score}", "strain", "8.2"),
    ],
)
def test_values_as_people_read_them(number: float, unit: str, metric: str, words: str) -> None:
    assert shown(number, unit, metric) == words


@pytest.mark.parametrize(
    ("message", "metrics"),
    [
        ("How is my blood pressure?", {"blood_pressure_systolic", "blood_pressure_diastolic"}),
        ("What do I weigh?", {"body_mass"}),
        ("Is weight training ok?", set()),
        ("My temperature?", {"body_temperature", "wrist_temperature", "skin_temperature"}),
        ("How far did I go?", {"distance"}),
        ("My VO2max and oxygen uptake", {"vo2_max"}),
        ("My oxygen", {"spo2"}),
        ("How long was I in bed", {"sleep_in_bed"}),
    ],
)
def test_more_metrics_by_the_words_people_use(message: str, metrics: set[str]) -> None:
    assert set(asked(message)) == metrics


async def test_the_time_of_a_night_is_when_it_ended() -> None:
    night = value("sleep_total", 432, hours=9)
    night = type(night)(
        **{f: getattr(night, f) for f in night.__struct_fields__} | {"end_time": NOW - timedelta(hours=1)}
    )
    found = await talk("How did I sleep?", latest=Latest({"sleep_total": night}, "redis"))
    assert found.said[0] == "Your time asleep was 7 hours 12 minutes, 1 hour ago."


async def test_what_adds_up_is_told_of_the_day_and_never_compared_in_part() -> None:
    days = {"steps": {TODAY - timedelta(days=1): 9000.0, TODAY: 6312.0}}
    known = Knowledge(TODAY, month=month(steps=8437), days=days)
    latest = Latest({"steps": value("steps", 312, hours=0.3)}, "redis")
    found = await talk("How many steps today?", latest=latest, knowledge=known)
    assert (
        found.said[0]
        == "Your step count of today was 6312 steps, 18 minutes ago; usual for you is 8437 steps in a whole day."
    )
    (insight,) = found.reply.insights
    assert insight.value == 6312
    without = await talk("Steps?", latest=latest, knowledge=Knowledge(TODAY, month=month(steps=8437)))
    assert without.said[0] == "Your step count of the last interval was 312 steps, 18 minutes ago."


async def test_what_is_not_measured_is_said_once_and_by_one_name() -> None:
    found = await talk("My HRV, blood pressure and weight?", latest=values(heart_rate=61))
    lacks = "I have no recent measurement of your heart rate variability or blood pressure or body weight."
    assert found.said[0] == lacks
    nothing = await talk("My HRV?", latest=Latest({}, "postgres"))
    assert nothing.said[0] == NO_VALUES
    assert not any(sentence.startswith("I have no recent measurement of your ") for sentence in nothing.said)


async def test_one_of_two_ways_to_measure_the_same_is_enough() -> None:
    found = await talk("My HRV?", latest=values(hrv_sdnn=48))
    assert found.said[0].startswith("Your heart rate variability (SDNN) was 48 ms")
    assert not any(sentence.startswith("I have no recent") for sentence in found.said)


async def test_when_the_usual_cannot_be_looked_up_it_is_not_called_unknown() -> None:
    found = await talk(latest=values(hrv_rmssd=60), knowledge=AWAY)
    assert NO_KNOWLEDGE in found.said
    assert NO_BASELINE not in found.said
    assert NO_BASELINE in (await talk(latest=values(hrv_rmssd=60))).said


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Thank you!", WELCOME),
        ("What can you do?", ABILITIES),
        ("help", ABILITIES),
        ("Remember that I work nights", TO_REMEMBER),
    ],
)
async def test_small_talk_is_not_answered_with_numbers(message: str, answer: str) -> None:
    found = await talk(message, latest=values(heart_rate=61, hrv_rmssd=60))
    assert found.said[0] == answer
    assert len(found.said) == 2
    assert found.reply.insights == ()


async def test_small_talk_does_not_hide_what_the_body_says() -> None:
    found = await talk("Thanks", latest=values(recovery_score=35))
    assert found.said[0] == WELCOME
    assert REMARKS[Mode.GUARDIAN] in found.said
    assert any("35 %" in sentence for sentence in found.said)


@pytest.mark.parametrize(
    "message", ["History of my pulse?", "Higher pulse?", "Good pulse?", "Thanks to whom is my pulse so low?"]
)
async def test_words_that_only_begin_like_small_talk_are_none(message: str) -> None:
    found = await talk(message)
    assert found.said[0].startswith("Your heart rate was 61")


@pytest.mark.parametrize(
    ("rule", "evidence", "noticed"),
    [
        (
            "single-fall",
            Evidence("hrv_rmssd_fall", 0.554, "1", NOW, "above", 0.5),
            "What I noticed: HRV (RMSSD) fell by 55 % from one reading to the next.",
        ),
        (
            "rem-varies",
            Evidence("rem_variation", 0.42, "1", NOW, "above", 0.3),
            "What I noticed: your REM sleep has varied a lot from night to night lately.",
        ),
        (
            "several-anomalies",
            Evidence("anomalies", 4, "1", NOW, "above", 3),
            "What I noticed: 4 of your values are far from what is usual for you.",
        ),
    ],
)
async def test_what_is_computed_is_told_in_words(
    rule: str, evidence: Evidence, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = Decision(Mode.HYPOTHESIS, rule, "some signal is 0.55, above 0.5", (evidence,), ())
    monkeypatch.setattr(choice, "choose", lambda _turn, _thresholds: decision)
    found = await talk()
    assert noticed in found.said
    assert REMARKS_OF[rule] in found.said
    assert REMARKS[Mode.HYPOTHESIS] not in found.said
    assert found.turn.faults == {}
    assert found.reply.recommendations == ADVICE_OF.get(rule, found.reply.recommendations)
    model = says("Let us see.", "It fell by 55 %.")
    told = await talk(model=model)
    assert noticed.removeprefix("What I noticed: ").rstrip(".") in model.asked[0].context
    assert told.reply.recommendations == found.reply.recommendations


def pattern(kind: str, level: str = "high", detail: str = "hrv_sdnn at 03") -> ActivePattern:
    return ActivePattern(kind, detail, level, 0.9, NOW, NOW)


async def test_patterns_are_told_in_words_once_each_and_those_of_another_version_are_left_out() -> None:
    known = Knowledge(
        TODAY, patterns=(pattern("recurring-dip"), pattern("recurring-dip", detail="hrv_sdnn at 04"), pattern("tides"))
    )
    found = await talk(knowledge=known)
    assert found.turn.decision is not None
    assert found.turn.decision.mode is Mode.PATTERN
    assert found.said.count(PATTERNS["recurring-dip"]) == 1
    assert not any("confidence of" in sentence for sentence in found.said)
    other = await talk(knowledge=Knowledge(TODAY, patterns=(pattern("tides"),)))
    assert "What I noticed: there is a pattern in your values of the last days." in other.said


async def test_old_values_alone_are_not_judged() -> None:
    found = await talk(latest=Latest({"body_mass": value("body_mass", 72.4, hours=30)}, "redis"))
    assert found.said[:2] == ["Your body weight was 72.4 kg, 1 day ago.", NOTHING_TO_JUDGE]


async def test_a_change_within_a_session_is_told_by_its_name() -> None:
    saver: Any = InMemorySaver()
    known = {n: Knowledge(TODAY, days={"steps": {TODAY: n}}) for n in (4000.0, 6000.0)}
    await talk(
        "Steps?", latest=Latest({"steps": value("steps", 100, 2)}, "redis"), knowledge=known[4000.0], saver=saver
    )
    found = await talk(
        "Steps?", latest=Latest({"steps": value("steps", 90, 1)}, "redis"), knowledge=known[6000.0], saver=saver
    )
    assert "When we last spoke in this session, your step count of today was 4000 steps." in found.said


def test_every_metric_has_a_name() -> None:
    assert title("walking_heart_rate") == "average heart rate while walking"
