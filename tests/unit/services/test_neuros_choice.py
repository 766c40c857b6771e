"""The mode of a reply: what stands, what has changed since, what the message says; and red flags of days and nights."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from auren.latest import Latest
from auren.modes import DEFAULTS, Decision, Evidence, Mode
from auren.modes.machine import ModeState
from auren.neuros import choice
from auren.neuros.guard.flags import SUGGESTION
from auren.neuros.guard.screen import cues
from auren.neuros.knowledge import (
    Knowledge,
    Night,
    Standing,
    _baselines,
    _days_by_metric,
    _evidence_of,
    _person_state,
    _values,
)
from auren.neuros.turn import Turn
from auren.people import Held, PersonState
from tests.unit.services.talking import NOW, month, talk, usual, values

TODAY = NOW.date()
COOLDOWN = timedelta(seconds=DEFAULTS.switching.cooldown_seconds)
EVIDENCE = (Evidence("recovery_score", 35, "%", NOW, "below", 40),)


def standing(mode: Mode, rule: str | None, ago: timedelta | None, reason: str | None = "it was so") -> Standing:
    switched = None if ago is None else NOW - ago
    return Standing(ModeState(mode, switched, rule, switched), reason, 0.8, EVIDENCE)


def chosen(
    message: str = "How am I?", latest: Latest | None = None, known: Knowledge | None = None, **more: Any
) -> Decision:
    turn = Turn("anna", "s", message, NOW, latest=latest, knowledge=known, cues=cues(message), **more)
    return choice.choose(turn, DEFAULTS)


def after(mode: Mode, rule: str | None, ago: timedelta | None, **more: Any) -> Knowledge:
    return Knowledge(TODAY, standing(mode, rule, ago, **more))


@pytest.mark.parametrize(
    ("ago", "mode"),
    [
        (timedelta(seconds=1), Mode.GUARDIAN),
        (COOLDOWN - timedelta(seconds=1), Mode.GUARDIAN),
        (COOLDOWN, Mode.BASELINE),
        (timedelta(days=2), Mode.BASELINE),
        (None, Mode.BASELINE),
    ],
)
def test_while_the_cooldown_lasts_the_standing_mode_stays_with_why_it_was_chosen(
    ago: timedelta | None, mode: Mode
) -> None:
    found = chosen(latest=values(recovery_score=71), known=after(Mode.GUARDIAN, "recovery-low", ago))
    assert found.mode is mode
    if mode is Mode.GUARDIAN:
        assert (found.rule, found.reason, found.evidence, found.confidence) == (
            "recovery-low",
            "it was so",
            EVIDENCE,
            0.8,
        )
        assert "resting_heart_rate" in {off.metric for off in found.off}


def test_what_ranks_before_the_standing_mode_does_not_wait() -> None:
    known = after(Mode.GUARDIAN, "recovery-low", timedelta(seconds=1))
    assert chosen(latest=values(recovery_score=71, hrv_rmssd=20), known=known).mode is Mode.REFLEX
    known = after(Mode.REFLEX, "hrv-low", timedelta(seconds=1))
    assert chosen(latest=values(recovery_score=35), known=known).mode is Mode.REFLEX
    assert chosen(latest=values(recovery_score=35)).mode is Mode.GUARDIAN


def test_from_no_rule_every_rule_leads_at_once() -> None:
    known = after(Mode.BASELINE, None, timedelta(seconds=1))
    assert chosen(latest=values(recovery_score=55), known=known).mode is Mode.COMPANION
    assert chosen("I feel off", latest=values(recovery_score=71), known=known).mode is Mode.COMPANION


def test_a_switch_that_is_not_known_any_more_holds_nothing() -> None:
    known = after(Mode.GUARDIAN, "recovery-low", timedelta(seconds=1), reason=None)
    assert chosen(latest=values(recovery_score=71), known=known).mode is Mode.BASELINE


@pytest.mark.parametrize(
    ("score", "known", "mode"),
    [
        (41, after(Mode.GUARDIAN, "recovery-low", timedelta(hours=1)), Mode.GUARDIAN),
        (43, after(Mode.GUARDIAN, "recovery-low", timedelta(hours=1)), Mode.COMPANION),
        (41, after(Mode.GUARDIAN, "several-signs", timedelta(hours=1)), Mode.COMPANION),
        (41, Knowledge(TODAY), Mode.COMPANION),
        (41, None, Mode.COMPANION),
    ],
)
def test_the_rule_that_stands_holds_on_by_the_hysteresis(score: float, known: Knowledge | None, mode: Mode) -> None:
    """It is told why it was chosen: what is measured now would not lead to it."""
    found = chosen(latest=values(recovery_score=score), known=known)
    assert found.mode is mode
    if mode is Mode.GUARDIAN:
        assert (found.reason, found.evidence) == ("it was so", EVIDENCE)


async def test_a_reply_comes_while_a_mode_stands_by_the_hysteresis() -> None:
    known = after(Mode.GUARDIAN, "recovery-low", timedelta(hours=1))
    found = await talk(latest=values(recovery_score=41), knowledge=known)
    assert "What I noticed: it was so." in found.said
    assert found.turn.faults == {}


@pytest.mark.parametrize(
    ("message", "feeling", "latest", "mode"),
    [
        ("I feel off", None, {"recovery_score": 35}, Mode.GUARDIAN),
        ("Hello", None, {"hrv_rmssd": 20}, Mode.REFLEX),
        ("I feel off", None, {"recovery_score": 71}, Mode.COMPANION),
        ("Why am I so tired?", None, {"recovery_score": 71}, Mode.COMPANION),
        ("Hello", None, {"recovery_score": 71}, Mode.COMPANION),
        ("How am I?", "off", {"recovery_score": 71}, Mode.COMPANION),
        ("How am I?", "fine", {"recovery_score": 71}, Mode.BASELINE),
    ],
)
def test_what_the_body_says_comes_before_what_the_message_says(
    message: str, feeling: Any, latest: dict[str, float], mode: Mode
) -> None:
    assert chosen(message, values(**latest), Knowledge(TODAY), feeling=feeling).mode is mode
    assert chosen(message, values(**latest), None, feeling=feeling).mode is mode


def test_what_is_usual_and_what_came_before_count() -> None:
    known = Knowledge(TODAY, month=month(hrv_rmssd=60))
    assert chosen(latest=values(hrv_rmssd=40), known=known).rule == "hrv-fall"
    untrusted = Knowledge(TODAY, month={"hrv_rmssd": usual("hrv_rmssd", 60, trusted=False)})
    assert chosen(latest=values(hrv_rmssd=40), known=untrusted).mode is Mode.BASELINE
    held = {"hrv_rmssd": Held(40.0, NOW, 1, "w", "w", "d", 90.0)}
    assert chosen(latest=values(hrv_rmssd=40), known=Knowledge(TODAY, held=held)).rule == "single-fall"


def flags(**parts: Any) -> tuple[str, ...]:
    return choice.flags(Turn("anna", "s", "?", NOW, knowledge=Knowledge(TODAY, **parts)))


def days(*numbers: float | None, until: date = TODAY) -> dict[date, float]:
    """A value of each day, the last one of `until`."""
    first = until - timedelta(days=len(numbers) - 1)
    return {first + timedelta(days=i): number for i, number in enumerate(numbers) if number is not None}


@pytest.mark.parametrize(
    ("series", "raised"),
    [
        (days(80, 40), True),
        (days(80, None, 40), True),
        (days(80, None, None, 40), False),
        (days(80, 41), False),
        (days(80, 40, until=TODAY - timedelta(days=3)), False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("metric", ["hrv_rmssd", "hrv_sdnn"])
def test_a_fall_of_hrv_within_two_days_is_a_red_flag(metric: str, series: dict[date, float], raised: bool) -> None:
    found = flags(days={metric: series})
    assert bool(found) == raised
    assert (SUGGESTION in found) == raised


@pytest.mark.parametrize(
    ("means", "series", "raised"),
    [
        ({"resting_heart_rate": 50}, days(61, 62, 60), True),
        ({"resting_heart_rate": 50}, days(61, 59, 60), False),
        ({"resting_heart_rate": 50}, days(62, 60), False),
        ({}, days(61, 62, 60), False),
    ],
)
def test_a_resting_heart_rate_that_stays_high_is_one(
    means: dict[str, float], series: dict[date, float], raised: bool
) -> None:
    assert bool(flags(month=month(**means), days={"resting_heart_rate": series})) == raised


def night(days_ago: int, asleep: float | None, in_bed: float | None = 480) -> Night:
    return Night(TODAY - timedelta(days=days_ago), asleep, in_bed)


@pytest.mark.parametrize(
    ("nights", "raised"),
    [
        ([night(2, 300), night(1, 320), night(0, 310)], True),
        ([night(3, 300), night(2, 320), night(1, 310)], True),
        ([night(2, 300), night(1, 350), night(0, 310)], False),
        ([night(3, 300), night(1, 320), night(0, 310)], False),
        ([night(1, 320), night(0, 310)], False),
        ([night(2, 300), night(1, 320), night(0, 310), night(0, 20, 100)], True),
        ([night(2, 300), night(1, 320), night(0, 400), night(0, 20, 100)], False),
        ([night(2, 300), night(1, 320, None), night(0, 310)], False),
        ([night(2, 300), night(1, None), night(0, 310)], False),
    ],
)
def test_three_nights_awake_are_one_and_naps_are_no_nights(nights: list[Night], raised: bool) -> None:
    assert bool(flags(nights=tuple(nights))) == raised


def test_each_sentence_of_red_flags_is_said_once() -> None:
    found = flags(
        days={"hrv_rmssd": days(80, 40), "hrv_sdnn": days(80, 40)},
        nights=(night(2, 300), night(1, 320), night(0, 310)),
    )
    assert len(found) == len(set(found)) == 3
    assert choice.flags(Turn("anna", "s", "?", NOW)) == ()


def test_what_another_version_has_written_of_a_person_begins_anew() -> None:
    for text in ("{", '{"mode": 3}', '{"offset_minutes": "x"}', "null"):
        assert _person_state(text) == PersonState()
    assert _person_state('{"offset_minutes": 60, "later": 1}').offset_minutes == 60
    for written in (None, "", "[", '[{"metric": 3}]', "{}"):
        assert _evidence_of(written) == ()
    (found,) = _evidence_of(
        '[{"metric":"hrv_rmssd","value":1,"unit":"ms","time":"2026-03-01T12:00:00Z",'
        '"comparison":"below","threshold":2,"later":1}]'
    )
    assert found.metric == "hrv_rmssd"


def test_rows_of_days_become_values_and_baselines() -> None:
    rows = [
        ("steps", TODAY - timedelta(days=n), source, 2, 1_000_000 * count)
        for n in range(9)
        for source, count in (("phone", 5000 + n), ("watch", 6000 + n))
    ]
    found = _days_by_metric(rows)
    assert _values("steps", found["steps"])[TODAY] == 6000
    assert list(_values("steps", found["steps"])) == sorted(_values("steps", found["steps"]))
    (baseline,) = _baselines(found, TODAY, 28).values()
    assert (baseline.days, baseline.mean, baseline.trusted) == (8, 6004.5, True)
    assert _baselines(found, TODAY - timedelta(days=40), 28) == {}


@pytest.mark.parametrize(
    ("asleep", "in_bed", "efficiency"),
    [(240, 480, 0.5), (None, 480, None), (0, 480, None), (240, None, None), (500, 480, None)],
)
def test_the_efficiency_of_a_night(asleep: float | None, in_bed: float | None, efficiency: float | None) -> None:
    assert Night(TODAY, asleep, in_bed).efficiency == efficiency
