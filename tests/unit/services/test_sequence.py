"""What a sequence of events makes of the tables does not depend on how it is cut into batches, and a replay changes
nothing. The tables are dictionaries here; what they hold is compared with what follows from the rows alone.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from auren.biometric.ingest import sequence
from auren.biometric.ingest.batch import Document, Key, Row, document_of
from auren.biometric.ingest.judge import Judge
from auren.biometric.ingest.person import Person
from auren.biometric.ingest.sequence import Outcome, Prior
from auren.events import METRICS, Event, Kind, Reading, Sleep, Workout, event_id
from auren.modes import DEFAULTS, Mode
from auren.modes.switches import ModeSwitch
from auren.patterns import Known

NOW = datetime(2026, 3, 28, 20, tzinfo=timezone(timedelta(hours=1)))
JUDGE = Judge(DEFAULTS)


@dataclass
class Tables:
    """What the database holds."""

    people: dict[str, Person] = field(default_factory=dict)
    seen: set[uuid.UUID] = field(default_factory=set)
    erased: frozenset[str] = frozenset()
    tombstones: dict[Document, int] = field(default_factory=dict)
    rows: dict[Key, Row] = field(default_factory=dict)
    days: dict[sequence.Day, tuple[int, int]] = field(default_factory=dict)
    hours: dict[sequence.Hour, tuple[int, int]] = field(default_factory=dict)
    nights: dict[Document, Event] = field(default_factory=dict)
    workouts: dict[Document, Event] = field(default_factory=dict)
    patterns: dict[tuple[str, str, str], Known] = field(default_factory=dict)
    switches: list[ModeSwitch] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def take(self, events: Sequence[Event]) -> Outcome:
        """One batch."""
        outcome = sequence.run(events, self._prior(events), JUDGE)
        self.seen |= {event.event_id for event in events if event.user_id not in self.erased}
        self.people |= outcome.people
        self.tombstones |= outcome.tombstones
        for key, row in outcome.rows.items():
            self.rows.pop(key, None)
            if row is not None:
                self.rows[key] = row
        _add(self.days, outcome.days)
        _add(self.hours, outcome.hours)
        for stored, changed in ((self.nights, outcome.nights), (self.workouts, outcome.workouts)):
            _replace(stored, changed, outcome.tombstones)
        self.patterns |= outcome.patterns
        self.switches += outcome.switches
        self.outcomes.append(outcome)
        return outcome

    def _prior(self, events: Iterable[Event]) -> Prior:
        people = {
            e.user_id: self.people.get(e.user_id) or Person(e.user_id, 0, e.received_at) for e in reversed([*events])
        }
        doomed = {document_of(event) for event in events if event.kind == "deletion"}
        return Prior(
            people=people,
            fresh=frozenset(event.event_id for event in events) - self.seen,
            erased=self.erased,
            tombstones=dict(self.tombstones),
            rows=dict(self.rows),
            documents={d: tuple(row for row in self.rows.values() if row.document == d) for d in doomed},
        )

    def state(self) -> dict[str, Any]:
        """All of it, to be compared; of people what is stored and what is loaded for them."""
        people = {
            user: (person.clock, person.state(), person.days, person.hours, person.recent, person.nights)
            for user, person in self.people.items()
        }
        names = ("tombstones", "rows", "days", "hours", "nights", "workouts", "patterns", "switches")
        return {"people": people, **{name: getattr(self, name) for name in names}}


def _replace(
    stored: dict[Document, Event], changed: Mapping[Document, Event | None], tombstones: Mapping[Document, int]
) -> None:
    """As the statements of writing.py do it: by version."""
    for document, event in changed.items():
        known = stored.get(document)
        if known is not None and known.version <= tombstones.get(document, -1):
            del stored[document]
            known = None
        if event is not None and (known is None or known.version <= event.version):
            stored.pop(document, None)
            stored[document] = event


def _add(stored: dict[Any, tuple[int, int]], differences: dict[Any, list[int]]) -> None:
    for key, (count, total) in differences.items():
        known = stored.pop(key, (0, 0))
        if known[0] + count:
            stored[key] = (known[0] + count, known[1] + total)
        else:
            assert known[1] + total == 0


def taken(*batches: Sequence[Event], erased: Iterable[str] = ()) -> Tables:
    """The tables after these batches."""
    tables = Tables(erased=frozenset(erased))
    for batch in batches:
        tables.take(batch)
    return tables


def event(
    *values: float,
    user: str = "anna",
    document: str = "d1",
    version: int = 1,
    kind: Kind = "readings",
    time: datetime = NOW,
    metric: str = "heart_rate",
    received: datetime | None = None,
    every: timedelta = timedelta(minutes=1),
    sleep: Sleep | None = None,
    flags: tuple[str, ...] = (),
) -> Event:
    """An event whose readings are `every` so far apart."""
    readings = tuple(
        Reading(metric=metric, value=value, unit=METRICS[metric].unit, time=time + index * every, flags=flags)
        for index, value in enumerate(values)
    )
    return Event(
        schema=1,
        kind=kind,
        event_id=event_id("oura", user, kind, f"{document}/{metric}/{values}/{time}/{flags}", version),
        user_id=user,
        provider="oura",
        document_id=document,
        version=version,
        observed_at=time,
        received_at=received or time + timedelta(minutes=5),
        readings=readings,
        sleep=sleep,
    )


def workout(*, document: str, version: int, time: datetime = NOW) -> Event:
    one = event(kind="workout", document=document, version=version, time=time)
    return msgspec.structs.replace(one, workout=Workout(activity="run", start=time, end=time + timedelta(hours=1)))


def deletion(version: int, *, user: str = "anna", document: str = "d1", time: datetime = NOW) -> Event:
    return event(user=user, document=document, version=version, kind="deletion", time=time)


def night(day: date, hour: float, minutes: int, *, document: str, version: int = 1) -> Event:
    """A night that ends on `day` and began `hour` hours after noon of the day before."""
    start = datetime(day.year, day.month, day.day, tzinfo=NOW.tzinfo) - timedelta(hours=12 - hour)
    end = start + timedelta(minutes=minutes)
    return event(
        kind="sleep",
        document=document,
        version=version,
        time=end,
        sleep=Sleep(start=start, end=end, total_minutes=minutes),
    )


# What any sequence must lead to

SESSIONS = st.builds(
    lambda document, version, kind, days, hours: {
        "deletion": deletion(version, document=document, time=NOW + timedelta(hours=hours)),
        "sleep": night((NOW - timedelta(days=days)).date(), 11, 400 + version, document=document, version=version),
        "workout": workout(document=document, version=version, time=NOW - timedelta(days=days)),
    }[kind],
    document=st.sampled_from(("d1", "d2")),
    version=st.integers(1, 4),
    kind=st.sampled_from(("sleep", "sleep", "workout", "deletion")),
    days=st.sampled_from((0, 1, 20)),
    hours=st.sampled_from((-1, 0, 1)),
)

EVENTS = st.builds(
    lambda user, document, version, kind, hours, metric, values, late, flags: (
        deletion(version, user=user, document=document, time=NOW + timedelta(hours=hours))
        if kind == "deletion"
        else event(
            *values,
            user=user,
            document=document,
            version=version,
            time=NOW + timedelta(hours=hours),
            metric=metric,
            received=NOW + timedelta(hours=hours, minutes=late),
            every=timedelta(minutes=30),
            flags=flags,
        )
    ),
    user=st.sampled_from(("anna", "ben")),
    document=st.sampled_from(("d1", "d2", "d3")),
    version=st.integers(1, 3),
    kind=st.sampled_from(("readings", "readings", "readings", "deletion")),
    hours=st.sampled_from((-40, -26, -2, -1, 0, 1)),
    metric=st.sampled_from(("heart_rate", "hrv_rmssd", "recovery_score")),
    values=st.lists(st.sampled_from((5.0, 22.5, 38.0, 60.123456, 88.0, 999.0)), min_size=1, max_size=4),
    late=st.integers(-30, 300),
    flags=st.sampled_from(((), (), ("derived",))),
)


def cut(events: Sequence[Event], places: Iterable[int]) -> list[Sequence[Event]]:
    """The events in batches that begin at these places."""
    bounds = sorted({0, len(events), *(place % (len(events) + 1) for place in places)})
    return [events[first:last] for first, last in pairwise(bounds)]


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=14), st.lists(st.integers(0, 20), max_size=4))
def test_batches_change_nothing(events: list[Event], places: list[int]) -> None:
    whole = taken(events).state()
    assert taken(*([one] for one in events)).state() == whole
    assert taken(*cut(events, places)).state() == whole


@settings(max_examples=300)
@given(st.lists(SESSIONS, max_size=12), st.lists(st.integers(0, 20), max_size=4))
def test_of_nights_and_workouts_the_highest_version_that_was_not_deleted_stays(
    events: list[Event], places: list[int]
) -> None:
    whole = taken(events)
    assert taken(*cut(events, places)).state() == taken(*([one] for one in events)).state() == whole.state()
    for kind, stored in (("sleep", whole.nights), ("workout", whole.workouts)):
        wanted: dict[Document, int] = {}
        buried: dict[Document, int] = {}
        for one in events:
            document = document_of(one)
            if one.kind == "deletion":
                buried[document] = max(one.version, buried.get(document, 0))
                if wanted.get(document, 0) <= one.version:
                    wanted.pop(document, None)
            elif one.kind == kind and buried.get(document, 0) < one.version:
                wanted[document] = max(one.version, wanted.get(document, 0))
        assert {document: one.version for document, one in stored.items()} == wanted


@settings(max_examples=200)
@given(st.lists(EVENTS, max_size=14), st.lists(st.integers(0, 20), max_size=4))
def test_a_replay_changes_nothing(events: list[Event], places: list[int]) -> None:
    tables = taken(events)
    before = tables.state()
    for batch in cut(events, places):
        outcome = tables.take(batch)
        assert not outcome.switches
        assert not outcome.rows
    assert tables.state() == before


@settings(max_examples=200)
@given(st.lists(EVENTS, max_size=14))
def test_days_and_hours_are_those_of_the_trusted_rows(events: list[Event]) -> None:
    tables = taken(events)
    days: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    hours: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for row in tables.rows.values():
        if not row.trusted:
            continue
        local = row.local_end
        _count(days[row.user_id, row.metric, local.date(), row.source], row)
        if row.metric.startswith("hrv"):
            _count(hours[row.user_id, row.metric, local.date(), local.hour, row.source], row)
    assert tables.days == {key: tuple(amount) for key, amount in days.items()}
    assert tables.hours == {key: tuple(amount) for key, amount in hours.items()}


def _count(amount: list[int], row: Row) -> None:
    amount[0] += 1
    amount[1] += round(row.value * 1_000_000)


@settings(max_examples=200)
@given(st.lists(EVENTS, max_size=14))
def test_a_row_holds_the_highest_version_that_was_not_deleted(events: list[Event]) -> None:
    rows: dict[Key, tuple[int, str]] = {}
    buried: dict[Document, int] = {}
    seen = set()
    for one in events:
        if one.event_id in seen:
            continue
        seen.add(one.event_id)
        document = document_of(one)
        if one.kind == "deletion":
            buried[document] = max(one.version, buried.get(document, 0))
            rows = {
                k: v for k, v in rows.items() if (k[0], v[1]) != (one.user_id, one.document_id) or v[0] > one.version
            }
        elif buried.get(document, 0) < one.version:
            for reading in one.readings:
                key = (one.user_id, reading.metric, one.source, reading.time)
                if key not in rows or rows[key][0] <= one.version:
                    rows[key] = (one.version, one.document_id)
    assert {key: (row.version, row.document_id) for key, row in taken(events).rows.items()} == rows


# Single effects


def test_what_is_not_trusted_is_kept_with_its_flag_and_nothing_is_learnt_from_it() -> None:
    old, soon = NOW - timedelta(days=30), NOW + timedelta(hours=1)
    tables = taken(
        [
            event(999, 60),
            event(61, document="late", time=old, received=NOW),
            event(62, document="soon", time=soon, received=NOW),
            event(63, document="own", flags=("derived",), time=NOW + timedelta(minutes=9)),
        ]
    )
    assert {row.value: row.flags for row in tables.rows.values()} == {
        999: ("implausible",),
        60: None,
        61: ("late",),
        62: ("future",),
        63: ("derived",),
    }
    assert list(tables.days.values()) == [(2, 123_000_000)]
    assert tables.people["anna"].held["heart_rate"].value == 63
    assert tables.outcomes[0].newest["anna", "heart_rate"].value == 63


def test_a_day_is_that_of_the_end_by_the_clock_that_the_event_names() -> None:
    berlin = timezone(timedelta(hours=2))
    late_evening = datetime(2026, 3, 29, 23, 30, tzinfo=berlin)
    steps = Reading(
        metric="steps",
        value=100,
        unit="{steps}",
        time=datetime(2026, 3, 29, 23, tzinfo=berlin),
        end_time=datetime(2026, 3, 30, 0, tzinfo=berlin),
    )
    asleep = Reading(
        metric="sleep_total", value=420, unit="min", time=late_evening, end_time=late_evening + timedelta(hours=8)
    )
    one = msgspec.structs.replace(
        event(50, time=late_evening), readings=(steps, asleep), received_at=NOW + timedelta(days=3)
    )
    assert {key[1:3] for key in taken([one]).days} == {("steps", date(2026, 3, 29)), ("sleep_total", date(2026, 3, 30))}


def test_the_hour_that_comes_twice_counts_by_the_clock_on_the_wall() -> None:
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    twice = [datetime(2026, 10, 25, 2, 30, tzinfo=zone) for zone in (summer, winter)]
    tables = taken([event(50, metric="hrv_sdnn", document=str(n), time=time) for n, time in enumerate(twice)])
    assert tables.hours == {("anna", "hrv_sdnn", date(2026, 10, 25), 2, "oura"): (2, 100_000_000)}
    assert len(tables.rows) == 2


def test_of_whom_redis_may_hold_what_is_gone_is_told() -> None:
    tables = taken([event(60)])
    assert not tables.outcomes[-1].unsettled
    assert tables.take([event(999, version=2)]).unsettled == {"anna"}  # a correction that nobody believes
    assert not tables.take([event(61, version=3)]).unsettled
    assert tables.take([event(61, version=3)]).unsettled == {"anna"}  # the first time may have been in vain
    assert tables.take([deletion(4)]).unsettled == {"anna"}


def test_nobody_who_was_erased_leaves_anything() -> None:
    tables = taken([event(60), event(61, user="ben")], erased=["anna"])
    assert {row.user_id for row in tables.rows.values()} == {"ben"}
    assert set(tables.people) == {"ben"}
    assert tables.outcomes[0].events == {"erased": 1, "stored": 1}


def test_a_night_is_replaced_by_a_newer_version_and_goes_with_its_document() -> None:
    day = date(2026, 3, 20)
    first, second = night(day, 11, 400, document="n", version=1), night(day, 12, 420, document="n", version=2)
    tables = taken([second, first])
    (stored,) = tables.nights.values()
    assert stored is second
    tables.take([deletion(1, document="n")])
    assert tables.nights
    tables.take([deletion(2, document="n")])
    assert not tables.nights
    assert not tables.people["anna"].nights


# Modes


def usual_hrv(value: float, days: int = 14) -> list[Event]:
    return [
        event(value + (day % 3 - 1), metric="hrv_rmssd", document=f"night {day}", time=NOW - timedelta(days=day))
        for day in range(days, 0, -1)
    ]


def test_a_fall_from_the_baseline_leads_to_reflex_with_its_evidence() -> None:
    tables = taken(usual_hrv(60), [event(38, metric="hrv_rmssd", document="tonight")])
    (switch,) = tables.switches
    assert (switch.mode, switch.previous, switch.rule) == (Mode.REFLEX, Mode.BASELINE, "hrv-fall")
    assert [(e.metric, e.value, e.comparison) for e in switch.evidence] == [("hrv_rmssd", 38, "drop_ratio")]
    assert switch.evidence[0].baseline is not None
    assert 59 < switch.evidence[0].baseline < 61
    assert switch.at == NOW + timedelta(minutes=5)
    assert tables.people["anna"].mode.mode is Mode.REFLEX


def test_a_backfill_of_today_makes_a_baseline_at_once() -> None:
    backfill = [replace_received(one, NOW) for one in usual_hrv(60)]
    tables = taken([*backfill, event(38, metric="hrv_rmssd", document="tonight")])
    assert [switch.mode for switch in tables.switches] == [Mode.REFLEX]


def replace_received(one: Event, received: datetime) -> Event:
    return msgspec.structs.replace(one, received_at=received)


def test_too_few_days_are_no_baseline() -> None:
    assert not taken(usual_hrv(60, days=6), [event(38, metric="hrv_rmssd", document="tonight")]).switches


def test_a_deleted_value_leads_nowhere_any_more() -> None:
    tables = taken(usual_hrv(60), [event(38, metric="hrv_rmssd", document="tonight")])
    later = NOW + timedelta(minutes=30)
    outcome = tables.take([deletion(2, document="tonight", time=later)])
    assert "hrv_rmssd" not in tables.people["anna"].held
    assert [switch.mode for switch in outcome.switches] == [Mode.BASELINE]


def test_a_reading_that_is_half_of_the_one_before_is_asked_about() -> None:
    tables = taken([*usual_hrv(60), event(27, metric="hrv_rmssd", document="tonight")])
    assert [(switch.mode, switch.rule) for switch in tables.switches] == [(Mode.HYPOTHESIS, "single-fall")]


def test_nights_that_begin_at_any_hour_become_a_pattern_and_end() -> None:
    day = date(2026, 3, 10)
    irregular = [night(day + timedelta(days=n), 9 + 7 * (n % 2), 360, document=f"n{n}") for n in range(6)]
    tables = taken(irregular)
    (found,) = tables.patterns.values()
    assert (found.kind, found.level, found.ended_at) == ("circadian-disruption", "high", None)
    regular = [night(day + timedelta(days=n), 11, 420, document=f"n{n}") for n in range(20, 34)]
    for one in regular:
        tables.take([one])
    (found,) = tables.patterns.values()
    assert found.ended_at is not None
    assert not tables.people["anna"].patterns
