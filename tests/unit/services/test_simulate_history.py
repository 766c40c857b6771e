"""The simulator's days of the past, people who are steady enough to have a baseline, and a night that is a bad one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.bridge import simulate
from auren.bridge.decoders import Decoded, healthkit, terra
from auren.bridge.simulate import RefusedError, Simulation
from auren.bridge.simulated_history import History
from auren.bridge.simulated_people import NIGHT_SAMPLES, Person, midnight, people
from auren.bridge.simulated_vendors import PROVIDERS, Sent, deliver, milliseconds, sign_terra
from auren.events import Delivery, Event, Reading

NOW = datetime(2026, 3, 1, 15, 4, 5, 678_000, tzinfo=UTC)
SMALL_HOURS = NOW.replace(hour=0, minute=17)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
CROWD = [person for seed in (1, 2) for person in people([f"user-{number}" for number in range(100)], seed)]
ANNA = CROWD[0]
DAYS = [NOW - timedelta(days=ago) for ago in range(1, 22)]
DECODE = {"healthkit": healthkit.decode, "terra": terra.decode}


def decoded(sent: Sent, received_at: datetime = NOW) -> list[Event]:
    """Events, as the collector makes them; all of the delivery is read."""
    vendor = tuple((name, value) for name, value in sent.headers.items() if name.startswith("x-terra"))
    delivery = Delivery(
        id="1", provider=sent.provider, received_at=received_at, body=sent.body, user_id="anna", vendor=vendor
    )
    found: Decoded = DECODE[sent.provider](delivery)
    assert not found.unknown
    assert not found.skipped
    return found.events


def history(days: int, now: datetime = NOW, who: Iterable[Person] = (ANNA,)) -> list[Sent]:
    return [past.delivery(now, b"key") for past in History(PROVIDERS, list(who), days, now)]


def readings(events: Iterable[Event], metric: str) -> list[Reading]:
    return [reading for event in events for reading in event.readings if reading.metric == metric]


def day_of(reading: Reading) -> date:
    """As the biometric service counts it."""
    return (reading.end_time - timedelta(microseconds=1) if reading.end_time else reading.time).date()


# People


def test_people_differ_by_more_than_their_days_do() -> None:
    for measured, most_sd in ((Person.hrv_rmssd_ms, 3), (Person.resting_heart_rate, 2), (Person.respiratory_rate, 0.6)):
        means = [fmean(measured(person, day) for day in DAYS) for person in CROWD]
        spreads = [stdev(measured(person, day) for day in DAYS) for person in CROWD]
        assert all(0 < spread < most_sd for spread in spreads)
        assert stdev(means) > 3 * fmean(spreads)
    assert all(42 <= person.hrv_rmssd_ms(day) <= 78 for person in CROWD for day in DAYS)


@given(MOMENTS)
def test_a_bad_night_is_over_before_it_would_be_as_a_good_one(now: datetime) -> None:
    bad = ANNA.after_a_bad_night(now)
    good_night, bad_night = ANNA.last_night(now), bad.last_night(now)
    assert bad.bad_day == bad_night.end.date() == good_night.end.date()
    assert bad_night.start == good_night.start
    assert timedelta(hours=4) < bad_night.end - bad_night.start < good_night.end - good_night.start
    assert efficiency(bad_night.stages) < 0.85 < efficiency(good_night.stages)
    assert midnight(now) - timedelta(days=1) < bad.night_samples(bad_night.end)[0]
    assert bad.night_samples(bad_night.end)[-1] < bad_night.end
    assert bad.night_samples(bad_night.end) == ANNA.night_samples(good_night.end)
    assert bad_night.minutes("awake") > 2 * good_night.minutes("awake")


def efficiency(stages: Iterable[tuple[str, int]]) -> float:
    minutes = list(stages)
    return sum(m for stage, m in minutes if stage != "awake") / sum(m for _, m in minutes)


@pytest.mark.parametrize("now", [NOW, SMALL_HOURS])
def test_a_bad_night_is_a_fall_of_hrv_for_everybody_and_never_half_of_the_day_before(now: datetime) -> None:
    for person in CROWD:
        bad = person.after_a_bad_night(now)
        woke = bad.last_night(now).end
        days = [woke - timedelta(days=ago) for ago in range(1, 22)]
        for sample in range(-1, NIGHT_SAMPLES):
            usual = [hrv(bad, day, sample) for day in days]
            # Where the baseline contains the bad night, too: before today's has ended, its day counts already.
            assert hrv(bad, woke, sample) < 0.7 * fmean([*usual, hrv(bad, woke, sample)])
            assert hrv(bad, woke, sample) > 0.5 * max(hrv(bad, day, s) for day in days for s in samples(sample))
        assert bad.resting_heart_rate(woke) == pytest.approx(person.resting_heart_rate(woke) + 15)
        assert bad.heart_rate(woke) > bad.resting_heart_rate(woke)


def samples(sample: int) -> Iterable[int]:
    return (-1,) if sample < 0 else range(NIGHT_SAMPLES)


def hrv(person: Person, day: datetime, sample: int) -> float:
    return person.hrv_rmssd_ms(day) if sample < 0 else person.hrv_sdnn_ms(day, sample)


def test_everything_but_the_bad_night_and_its_day_is_as_before() -> None:
    (bad,) = people([ANNA.user_id], 1, bad_night_before=NOW)
    assert bad.bad_day == ANNA.after_a_bad_night(NOW).bad_day == NOW.date()
    for day in DAYS:
        evening = midnight(day) + timedelta(hours=20)
        for provider, numbers in (("terra", range(3)), ("healthkit", range(1))):
            for number in numbers:
                told = [deliver(provider, person, number, evening, b"key").body for person in (ANNA, bad)]
                assert told[0] == told[1]
    assert bad.steps_until(NOW) == ANNA.steps_until(NOW)
    assert bad.respiratory_rate(NOW) == ANNA.respiratory_rate(NOW)


# What is sent of the past


@given(MOMENTS, st.integers(1, 3))
def test_the_past_is_told_day_by_day_and_signed_now(now: datetime, days: int) -> None:
    sent = history(days, now)
    assert len(sent) == len(History(PROVIDERS, [ANNA], days, now)) == 4 * days
    assert [delivery.provider for delivery in sent] == ["terra", "terra", "terra", "healthkit"] * days
    told = [max(map(day_of, readings(decoded(delivery, now), "heart_rate")), default=None) for delivery in sent[::4]]
    assert told == [now.date() - timedelta(days=ago) for ago in range(days, 0, -1)]
    for delivery in sent:
        if delivery.provider == "terra":
            signed = sign_terra(b"key", delivery.body, milliseconds(now))
            assert signed.items() <= delivery.headers.items()
            assert delivery.headers["x-terra-ordering-timestamp"] == str(milliseconds(now))


@given(MOMENTS)
def test_a_day_of_the_past_is_one_of_which_all_is_known(now: datetime) -> None:
    yesterday = now.date() - timedelta(days=1)
    daily, night, run, app = (decoded(delivery, now) for delivery in history(1, now))
    for events, hrv_metric, many in ((daily, "hrv_rmssd", 1), (app, "hrv_sdnn", NIGHT_SAMPLES)):
        for metric, count in ((hrv_metric, many), ("resting_heart_rate", 1), ("spo2", 1), ("heart_rate", 48)):
            found = readings(events, metric)
            assert len(found) == count
            assert {day_of(reading) for reading in found} == {yesterday}
        steps = ANNA.steps_until(midnight(now) - timedelta(minutes=1))
        assert sum(reading.value for reading in readings(events, "steps")) == steps
    (told,) = (event.sleep for event in night if event.sleep)
    (pushed,) = (event.sleep for event in app if event.sleep)
    assert (told.start, told.end) == (pushed.start, pushed.end)
    assert told.end.date() == yesterday
    assert all(day_of(reading) == yesterday for reading in readings(night, "hrv_rmssd"))
    assert any(event.workout and event.workout.start.date() == yesterday for event in run)
    assert all(reading.time < now for events in (daily, night, run, app) for e in events for reading in e.readings)


def test_what_is_told_of_a_day_is_the_same_when_it_is_past() -> None:
    evening = NOW.replace(hour=23, minute=59)
    for number in range(3):
        then, later = (
            decoded(sent)
            for sent in (deliver("terra", ANNA, number, evening, b"key"), history(1, NOW + timedelta(days=1))[number])
        )
        for metric in ("hrv_rmssd", "resting_heart_rate", "steps", "sleep_total", "respiratory_rate"):
            assert readings(then, metric) == readings(later, metric)


def test_the_oldest_day_of_everybody_comes_first() -> None:
    past = list(History(("healthkit", "oura"), CROWD[:2], 3, NOW))
    assert [(p.person, p.evening.day) for p in past] == [(who, day) for day in (26, 27, 28) for who in CROWD[:2]]
    assert not list(History(("oura", "whoop"), CROWD[:2], 3, NOW))


# The command


def options(*arguments: str) -> Any:
    return simulate.parser().parse_args(["--rate", "500", "--seconds", "0.01", *arguments])


async def simulated(
    tmp_path: Path, answers: Iterable[int], *arguments: str
) -> tuple[Simulation, list[tuple[str, dict[str, Any]]]]:
    """A run against a bridge that gives these answers, then 200; and what it was sent."""
    (tmp_path / "terra").mkdir()
    (tmp_path / "terra" / "signing-secret").write_text("secret")
    asked = options("--secrets-dir", str(tmp_path), "--token", "a.b.c", "--users", "1", *arguments)
    plan = simulate.plan_of(asked)
    statuses, seen = iter(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, json.loads(request.content)))
        return httpx.Response(next(statuses, 200))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://bridge") as client:
        simulation = Simulation(client, plan, simulate.keys_of(asked, plan))
        await simulation.run()
    return simulation, seen


async def test_the_history_goes_before_and_has_a_line_of_its_own(tmp_path: Path) -> None:
    simulation, seen = await simulated(tmp_path, (), "--providers", "healthkit,terra", "--history-days", "2")
    assert simulation.successful
    assert [path.rsplit("/", 1)[1] for path, _ in seen[:8]] == (["healthkit"] + ["terra"] * 3) * 2
    assert len(seen) == 8 + 5
    lines = simulation.report().splitlines()
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["healthkit", "3", "3"], ["terra", "2", "2"], ["all", "5", "5"], ["history", "8", "8"]
    ]  # fmt: skip


async def test_without_a_history_there_is_none_in_the_report(tmp_path: Path) -> None:
    simulation, seen = await simulated(tmp_path, (), "--providers", "terra")
    assert len(seen) == 5
    assert "history" not in simulation.report()


async def test_one_of_the_past_that_is_not_accepted_ends_it_and_is_no_success(tmp_path: Path) -> None:
    simulation, seen = await simulated(tmp_path, (200, 503), "--providers", "terra", "--history-days", "2")
    assert simulation.total().accepted == 5
    assert len(seen) == 2 + 5
    assert not simulation.successful
    assert "503: 1" in simulation.report()
    assert "4 of the history were not sent" in simulation.report()


def test_a_bad_night_is_the_last_one_of_everybody_and_their_history() -> None:
    plan = simulate.plan_of(options("--history-days", "1", "--bad-night"))
    assert plan.history is not None
    today = datetime.now(UTC).date()
    assert {person.bad_day for person in plan.people} <= {today, today - timedelta(days=1)}
    assert plan.history.people is plan.people
    assert {person.bad_day for person in simulate.plan_of(options()).people} == {None}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--history-days", "-1"), "from 0 to 60"),
        (("--history-days", "61"), "from 0 to 60"),
        (("--history-days", "1", "--providers", "oura,whoop"), "needs one of terra, healthkit"),
        (("--history-days", "60", "--users", "500"), "120000 deliveries"),
    ],
)
def test_a_history_that_cannot_be_sent_is_refused(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        simulate.plan_of(options(*arguments))
