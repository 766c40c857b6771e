"""Who is offered an exercise, when nobody is disturbed, and what came of it: each boundary."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import ValidationError

from auren.events import METRICS, Event, InvalidRecordError, Reading, event_id
from auren.modes import Evidence, Mode
from auren.modes.switches import ModeSwitch, switch_id
from auren.neuros.interventions import outcomes, preferences, records, room
from auren.neuros.interventions.api import InterventionPreferences, PreferencesModel, _preferences, told
from auren.neuros.interventions.decision import KINDS, Policy, Refusal, Situation, Suggestion, decide, refused_at_once
from auren.neuros.interventions.outcomes import Window
from auren.neuros.interventions.preferences import Preferences, QuietHours
from auren.neuros.interventions.records import Intervention, intervention_id
from auren.neuros.interventions.settings import InterventionSettings
from auren.neuros.interventions.suggestions import suggest

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BREATHING = Suggestion("breathing-4-7-8", "Slow breathing", timedelta(minutes=5), ("heart_rate",))
POLICY = Policy(cooldown=timedelta(seconds=300), stale_after=timedelta(seconds=600), suggest=lambda _mode: BREATHING)
WANTED = Preferences(enabled=True, quiet_hours=None, timezone="UTC", daily_cap=3)
EVIDENCE = Evidence("hrv_rmssd", 22, "ms", NOW - timedelta(minutes=3), "below", 25)


def switch(mode: Mode = Mode.REFLEX, previous: Mode = Mode.BASELINE, *, at: datetime = NOW) -> ModeSwitch:
    event = uuid.uuid4()
    return ModeSwitch(
        switch_id=switch_id(event),
        user_id="anna",
        at=at,
        mode=mode,
        previous=previous,
        rule="hrv-low",
        reason="HRV (RMSSD) is 22 ms, below 25 ms",
        confidence=0.9,
        evidence=(EVIDENCE,),
        off=(),
        event_id=event,
    )


def reason(found: Intervention | Refusal | None) -> str:
    assert isinstance(found, Refusal)
    return found.reason


def decided(situation: Situation, *, now: datetime = NOW, mode: Mode = Mode.REFLEX) -> Intervention | Refusal:
    return decide(switch(mode, at=now), situation, POLICY, now)


@pytest.mark.parametrize(("mode", "level"), [(Mode.REFLEX, "high"), (Mode.GUARDIAN, "medium"), (Mode.SENTINEL, "low")])
def test_what_is_offered_says_why_and_for_how_long(mode: Mode, level: str) -> None:
    asking = switch(mode)
    found = decide(asking, Situation(WANTED, mode), POLICY, NOW)
    assert isinstance(found, Intervention)
    assert found.id == intervention_id(asking.switch_id)
    assert (found.user_id, found.mode, found.level, found.protocol) == ("anna", mode, level, "breathing-4-7-8")
    assert (found.reason, found.evidence) == (asking.reason, (EVIDENCE,))
    assert (found.at, found.expires_at) == (NOW, NOW + KINDS[mode].lasts)
    assert records.decode(records.encode(found)) == found
    assert dict(records.headers(found))["ce_id"].decode() == str(found.id)
    assert b"anna" not in b"".join(value for _, value in records.headers(found))


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode not in KINDS])
def test_the_other_modes_ask_for_nothing(mode: Mode) -> None:
    assert reason(refused_at_once(switch(mode), POLICY, NOW)) == "calm"


def test_a_mode_that_goes_on_is_not_entered() -> None:
    assert reason(refused_at_once(switch(previous=Mode.REFLEX), POLICY, NOW)) == "calm"


@pytest.mark.parametrize(("seconds", "stale"), [(0, False), (600, False), (601, True), (-600, False), (-601, True)])
def test_a_switch_that_comes_late_is_not_acted_on(seconds: int, stale: bool) -> None:
    found = refused_at_once(switch(at=NOW - seconds * SECOND), POLICY, NOW)
    assert (found == Refusal("stale")) is stale
    assert isinstance(decide(switch(at=NOW - seconds * SECOND), Situation(WANTED), POLICY, NOW), Refusal) is stale


def test_the_ends_of_time_are_stale() -> None:
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert reason(refused_at_once(switch(at=at), POLICY, NOW)) == "stale"


@pytest.mark.parametrize("wanted", [None, msgspec.structs.replace(WANTED, enabled=False)])
def test_nobody_is_disturbed_who_has_not_asked_for_it(wanted: Preferences | None) -> None:
    assert reason(decided(Situation(wanted))) == "not-opted-in"


def test_somebody_who_is_in_another_mode_by_now_is_not_told_of_the_old_one() -> None:
    assert reason(decided(Situation(WANTED, Mode.BASELINE))) == "superseded"
    assert isinstance(decided(Situation(WANTED, Mode.REFLEX)), Intervention)
    assert isinstance(decided(Situation(WANTED, None)), Intervention)


@pytest.mark.parametrize(("seconds", "found"), [(0, True), (299, True), (300, False), (301, False)])
def test_the_cooldown_ends_with_its_last_second(seconds: int, found: bool) -> None:
    situation = Situation(WANTED, last_at=NOW - seconds * SECOND)
    assert (decided(situation) == Refusal("cooldown")) is found


@pytest.mark.parametrize(("today", "found"), [(0, False), (2, False), (3, True), (4, True)])
def test_the_cap_of_a_day(today: int, found: bool) -> None:
    assert (decided(Situation(WANTED, today=today)) == Refusal("daily-cap")) is found


def test_a_mode_without_a_protocol_offers_nothing() -> None:
    assert (
        reason(decide(switch(), Situation(WANTED), replace(POLICY, suggest=lambda _mode: None), NOW)) == "no-protocol"
    )


def test_every_mode_that_asks_has_a_protocol() -> None:
    for mode in KINDS:
        found = suggest(mode)
        assert found is not None
        assert found.measured
        assert set(found.measured) <= METRICS.keys()


def quiet(start: str, end: str, timezone: str) -> Preferences:
    hours = QuietHours(start=time.fromisoformat(start), end=time.fromisoformat(end))
    return msgspec.structs.replace(WANTED, quiet_hours=hours, timezone=timezone)


def is_quiet(wanted: Preferences, moment: str) -> bool:
    now = datetime.fromisoformat(moment)
    assert now.tzinfo is not None
    return decided(Situation(wanted), now=now) == Refusal("quiet-hours")


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        ("2026-03-10T20:59:59.999999+00:00", False),  # 21:59:59.999999 in Berlin
        ("2026-03-10T21:00:00+00:00", True),
        ("2026-03-10T23:00:00+00:00", True),  # midnight
        ("2026-03-11T05:59:59+00:00", True),
        ("2026-03-11T06:00:00+00:00", False),
        ("2026-03-11T12:00:00+00:00", False),
    ],
)
def test_quiet_hours_go_over_midnight_by_the_persons_clock(moment: str, found: bool) -> None:
    assert is_quiet(quiet("22:00", "07:00", "Europe/Berlin"), moment) is found


@pytest.mark.parametrize(
    ("moment", "found"), [("12:59:59", False), ("13:00:00", True), ("14:59:59", True), ("15:00:00", False)]
)
def test_quiet_hours_within_a_day(moment: str, found: bool) -> None:
    assert is_quiet(quiet("13:00", "15:00", "UTC"), f"2026-03-10T{moment}+00:00") is found


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        ("2026-03-29T00:59:00+00:00", True),  # 01:59 in Berlin; at 02:00 the clock goes to 03:00
        ("2026-03-29T01:00:00+00:00", False),  # 03:00: 02:30 was skipped, and is over
        ("2026-03-28T01:29:00+00:00", True),  # 02:29 of a common day
        ("2026-03-28T01:30:00+00:00", False),
    ],
)
def test_an_end_that_the_clock_skips_in_spring(moment: str, found: bool) -> None:
    assert is_quiet(quiet("23:00", "02:30", "Europe/Berlin"), moment) is found


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        ("2026-10-25T00:29:00+00:00", True),  # 02:29 the first time
        ("2026-10-25T00:30:00+00:00", False),  # 02:30
        ("2026-10-25T01:00:00+00:00", True),  # 02:00 the second time
        ("2026-10-25T01:30:00+00:00", False),
    ],
)
def test_an_hour_that_comes_twice_in_autumn_is_quiet_twice(moment: str, found: bool) -> None:
    assert is_quiet(quiet("23:00", "02:30", "Europe/Berlin"), moment) is found


@pytest.mark.parametrize(
    ("zone", "moment", "began"),
    [
        ("UTC", "2026-03-10T12:00:00+00:00", "2026-03-10T00:00:00+00:00"),
        ("America/New_York", "2026-03-11T03:59:59+00:00", "2026-03-10T04:00:00+00:00"),  # 23:59:59, summer time
        ("America/New_York", "2026-03-11T04:00:00+00:00", "2026-03-11T04:00:00+00:00"),  # midnight
        ("Europe/Berlin", "2026-03-29T20:00:00+00:00", "2026-03-28T23:00:00+00:00"),  # a day of 23 hours
        ("Europe/Berlin", "2026-10-25T22:59:00+00:00", "2026-10-24T22:00:00+00:00"),  # a day of 25 hours
        ("Africa/Cairo", "2026-04-24T12:00:00+00:00", "2026-04-23T22:00:00+00:00"),  # 00:00 is skipped: 01:00
        ("Pacific/Kiritimati", "2026-03-10T12:00:00+00:00", "2026-03-10T10:00:00+00:00"),  # the 11th already
    ],
)
def test_the_persons_day_begins_at_their_midnight(zone: str, moment: str, began: str) -> None:
    wanted = msgspec.structs.replace(WANTED, timezone=zone)
    assert wanted.day_began(datetime.fromisoformat(moment)) == datetime.fromisoformat(began)


def test_preferences_come_back_from_their_column() -> None:
    for wanted in (WANTED, quiet("22:00", "07:30", "Asia/Kolkata")):
        assert preferences.unpack(preferences.pack(wanted)) == wanted


def test_nothing_is_offered_by_default() -> None:
    standard = preferences.defaults(InterventionSettings())
    assert not standard.enabled
    assert standard.quiet_hours == QuietHours(start=time(22), end=time(7))
    assert room.policy(InterventionSettings()).cooldown == timedelta(seconds=300)


@pytest.mark.parametrize(
    "settings",
    [
        {"interventions_timezone": "Berlin"},
        {"interventions_timezone": "../etc/passwd"},
        {"interventions_timezone": "Europe"},
        {"interventions_quiet_from": "25:00"},
        {"interventions_quiet_from": "22:00+02:00"},
        {"interventions_daily_cap": 0},
        {"interventions_cooldown_seconds": -1},
    ],
)
def test_wrong_settings_end_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InterventionSettings(**settings)


def asked(body: dict[str, Any]) -> Preferences:
    wanted = PreferencesModel.model_validate({"interventions": body}).interventions
    return _preferences(wanted, preferences.defaults(InterventionSettings()))


def test_what_is_left_out_is_as_the_stack_has_it_and_null_is_none() -> None:
    assert asked({"enabled": True}).quiet_hours == QuietHours(start=time(22), end=time(7))
    assert asked({"enabled": True, "quiet_hours": None}).quiet_hours is None
    full = {"from": "23:30", "to": "06:00", "timezone": "Asia/Tokyo"}
    found = asked({"enabled": True, "quiet_hours": full, "daily_cap": 2})
    assert (found.timezone, found.daily_cap) == ("Asia/Tokyo", 2)
    shown = told(found).model_dump(mode="json", by_alias=True)["interventions"]
    assert shown["quiet_hours"] == {"from": "23:30:00", "to": "06:00:00", "timezone": "Asia/Tokyo"}
    assert asked(shown) == found


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"enabled": True, "daily_cap": 0},
        {"enabled": True, "daily_cap": 49},
        {"enabled": True, "quiet_hours": {"from": "22:00", "to": "22:00", "timezone": "UTC"}},
        {"enabled": True, "quiet_hours": {"from": "22:00", "to": "07:00"}},
        {"enabled": True, "quiet_hours": {"from": "22:00", "to": "07:00", "timezone": "Mars/Olympus"}},
        {"enabled": True, "quiet_hours": {"from": "22:00", "to": "07:00", "timezone": "/etc/localtime"}},
        {"enabled": True, "quiet_hours": {"from": "22:00", "to": "07:00", "timezone": "\0"}},
        {"enabled": True, "quiet_hours": {"from": "22:00+01:00", "to": "07:00", "timezone": "UTC"}},
        {"enabled": True, "snooze": 5},
    ],
)
def test_preferences_that_cannot_be_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PreferencesModel.model_validate({"interventions": body})


def measured(value: float, at: datetime, *, metric: str = "heart_rate", flags: tuple[str, ...] = ()) -> Event:
    reading = Reading(metric=metric, value=value, unit=METRICS[metric].unit, time=at, flags=flags)
    return Event(
        schema=1,
        kind="readings",
        event_id=event_id("oura", "anna", "readings", f"{at}", 1),
        user_id="anna",
        provider="oura",
        document_id="d",
        version=1,
        observed_at=at,
        received_at=at,
        readings=(reading,),
    )


BEGUN = outcomes.begin(BREATHING, NOW, {"heart_rate": (95.0, NOW - SECOND)})
OVER = NOW + BREATHING.duration


def after(*events: Event) -> Window:
    found = BEGUN
    for event in events:
        found = outcomes.follow(found, event)
    return found["heart_rate"]


def test_the_window_of_a_momentary_value_opens_when_the_exercise_is_over() -> None:
    assert after(measured(70, OVER)).after is None
    assert after(measured(70, OVER + SECOND)).after == 70
    assert after(measured(70, OVER + outcomes.MOMENTARY)).after == 70
    assert after(measured(70, OVER + outcomes.MOMENTARY + SECOND)).after is None


def test_the_newest_value_of_the_window_counts_in_any_order_and_twice() -> None:
    first, second = measured(80, OVER + SECOND), measured(76, OVER + 2 * SECOND)
    assert after(first, second).after == after(second, first).after == after(second, second, first).after == 76


def test_values_that_are_not_believed_do_not_count() -> None:
    assert after(measured(900, OVER + SECOND)).after is None
    assert after(measured(70, OVER + SECOND, flags=("implausible",))).after is None


def test_what_changes_nothing_is_the_same_object() -> None:
    assert outcomes.follow(BEGUN, measured(50, OVER + SECOND, metric="hrv_rmssd")) is BEGUN
    once = outcomes.follow(BEGUN, measured(70, OVER + SECOND))
    assert outcomes.follow(once, measured(70, OVER + SECOND)) is once
    assert outcomes.unpack(outcomes.pack(once)) == once


def test_a_value_of_the_night_may_come_on_the_next_day() -> None:
    sleep = Suggestion("sleep-recovery", "An evening", timedelta(hours=1), ("hrv_rmssd",))
    begun = outcomes.begin(sleep, NOW, {})
    found = outcomes.follow(begun, measured(60, NOW + timedelta(hours=20), metric="hrv_rmssd"))
    assert found["hrv_rmssd"].after == 60
    assert sleep.duration + outcomes.NIGHTLY < outcomes.OPEN


@pytest.mark.parametrize(
    ("metric", "before", "value", "effect"),
    [
        ("heart_rate", 100, 94, "better"),
        ("heart_rate", 100, 96, "same"),
        ("heart_rate", 100, 106, "worse"),
        ("hrv_rmssd", 40, 50, "better"),
        ("hrv_rmssd", 40, 30, "worse"),
        ("steps", 100, 200, None),
        ("heart_rate", None, 80, None),
        ("heart_rate", 80, None, None),
    ],
)
def test_an_effect_is_told_where_it_is_known_what_is_better(
    metric: str, before: float | None, value: float | None, effect: str | None
) -> None:
    assert Window(since=NOW, until=NOW, before=before, after=value).effect(metric) == effect


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b'{"schema":2}'])
def test_what_is_no_intervention_is_said(value: bytes) -> None:
    with pytest.raises(InvalidRecordError, match=r"^no intervention of schema 1$"):
        records.decode(value)


def test_one_id_for_one_switch() -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    assert intervention_id(one) == intervention_id(one) != intervention_id(other)


def test_the_examples_of_the_routes_are_valid() -> None:
    (example,) = PreferencesModel.model_json_schema()["examples"]
    assert isinstance(PreferencesModel.model_validate(example).interventions, InterventionPreferences)
    assert ZoneInfo(example["interventions"]["quiet_hours"]["timezone"])
