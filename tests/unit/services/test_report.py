"""The report page: what it says of what there is, that nothing of it can run or load, and how its charts are drawn."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from auren.baselines import Baseline
from auren.biometric.report.cards import FLAGS, KINDS, line_card, mode_card, mode_spans, report, sleep_card
from auren.biometric.report.charts import Chart, Day, Dot, Line, Modes, Part, Span, Stack
from auren.biometric.report.drawing import Drawing, DrawingError
from auren.biometric.report.figures import svg
from auren.biometric.report.material import MOST_READINGS, SINGLE, SLEEP, Calendar, Material, Measured, fetch
from auren.biometric.report.page import html
from auren.link import UnavailableError
from auren.modes import Mode
from auren.plausibility import UNTRUSTED

BERLIN = ZoneInfo("Europe/Berlin")
CALENDAR = Calendar(date(2026, 3, 2), date(2026, 3, 8), BERLIN)
NOW = datetime(2026, 3, 8, 20, tzinfo=BERLIN)
HOSTILE = '"><img src=https://evil.example onerror=alert(1)><script>alert(1)</script>{{ 7*7 }}'
LABELS = tuple(f"Mon\n{day}" for day in range(2, 9))


def usual(mean: float, day: date) -> Baseline:
    return Baseline(
        metric="hrv_rmssd",
        window_days=28,
        as_of=day,
        days=28,
        readings=50,
        mean=mean,
        sd=5.0,
        median=mean,
        mad=5.0,
        trusted=True,
    )


def measured(values: dict[int, float], mean: float | None = None, readings: Any = ()) -> Measured:
    days = {date(2026, 3, day): value for day, value in values.items()}
    baselines = {day: None if mean is None else usual(mean, day) for day in CALENDAR.days}
    return Measured(days, dict.fromkeys(days, 1), baselines, readings)


NOTHING = measured({})


def material(**of: Measured) -> Material:
    metrics = {metric: of.get(metric, NOTHING) for metric in (*SINGLE, *SLEEP)}
    return Material("anna", CALENDAR, NOW, metrics, (), None, None, ())


def reading(day: int, value: float, flags: Any = None, source: str = "oura/ring") -> dict[str, Any]:
    return {"time": datetime(2026, 3, day, 4, tzinfo=UTC), "value": value, "source": source, "flags": flags}


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_page_needs_nothing_and_runs_nothing_whatever_a_device_is_called() -> None:
    flagged = [reading(5, 300, ["implausible"], source=HOSTILE)]
    switch = {"at": NOW, "mode": "guardian", "previous": "baseline", "reason": HOSTILE}
    full = replace(
        material(hrv_rmssd=measured({5: 41, 6: 44}, 60, flagged), sleep_total=measured({5: 400}, 420)),
        sources=(HOSTILE,),
        before={"mode": "baseline"},
        switches=(switch,),
    )
    said = report(full)
    page = Page(html(said, await Drawing().draw(said.charts)))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form", "a", "base"})
    images = [facts for tag, facts in page.tags if tag == "img"]
    assert len(images) == 3
    for facts in images:
        assert facts["alt"]
        assert set(facts) == {"src", "alt"}
        drawn = ElementTree.fromstring(
            base64.b64decode((facts["src"] or "").removeprefix("data:image/svg+xml;base64,"))
        )
        for element in drawn.iter():
            assert not element.tag.endswith("}script")
            assert all(value.startswith("#") for name, value in element.attrib.items() if name.endswith("href"))
    assert not [name for _, facts in page.tags for name in facts if name.startswith("on")]
    assert page.text.count(HOSTILE) == 3


def test_what_was_not_measured_is_said() -> None:
    said = report(material())
    assert said.charts == []
    assert [card.title for card in said.cards] == [
        "Mode",
        "Heart rate variability (RMSSD)",
        "Resting heart rate",
        "Recovery",
        "Sleep",
    ]
    assert all(card.nothing.startswith("No data: ") for card in said.cards)
    assert "no device sent any value" in said.footer[0]
    assert html(said, []).count('class="none"') == 5


@pytest.mark.parametrize(
    ("there", "titles"),
    [(("hrv_sdnn",), ["SDNN"]), (("hrv_rmssd",), ["RMSSD"]), (("hrv_rmssd", "hrv_sdnn"), ["RMSSD", "SDNN"])],
)
def test_hrv_is_of_the_kind_that_there_is(there: tuple[str, ...], titles: list[str]) -> None:
    said = report(material(**dict.fromkeys(there, measured({5: 50}))))
    assert [card.title[24:-1] for card in said.cards if "variability" in card.title] == titles


@pytest.mark.parametrize(
    ("value", "mean", "says"),
    [
        (41.4, 60, "Newest: 41 ms on Thu 5 Mar, below the usual 55 to 65."),
        (60, 60, "Newest: 60 ms on Thu 5 Mar, within the usual 55 to 65."),
        (66, 60, "Newest: 66 ms on Thu 5 Mar, above the usual 55 to 65."),
        (66, None, "Newest: 66 ms on Thu 5 Mar. There are too few days yet to say what is usual."),
    ],
)
def test_the_newest_value_stands_beside_what_is_usual(value: float, mean: float | None, says: str) -> None:
    card = line_card(KINDS[0], measured({3: 1, 5: value}, mean), CALENDAR)
    assert card.sentences == (says,)
    assert card.table is not None
    assert card.table.rows[0] == ("Mon 2 Mar", "no data", "55 to 65" if mean else "too few days", "0")
    assert card.table.rows[1][1] == "1"


def test_flagged_readings_are_marked_and_told() -> None:
    rows = [reading(5, 300, ["implausible", "future"]), reading(5, 50, ["estimated"]), reading(6, 51)]
    card = line_card(KINDS[0], measured({5: 50.5}, None, rows), CALENDAR)
    assert isinstance(card.chart, Line)
    assert [dot.flagged for dot in card.chart.dots] == [True, False, False]
    assert card.flagged == (
        "Thu 5 Mar 05:00: 300 ms from oura/ring is outside what a body does and dated in the future, and not counted.",
    )
    untrusted = line_card(KINDS[0], measured({}, None, rows[:1]), CALENDAR)
    assert untrusted.sentences == ("No reading of these days is trusted.",)
    many = line_card(KINDS[0], measured({}, None, rows[:1] * 20), CALENDAR)
    assert many.flagged[-1] == "12 more readings are not trusted and not counted."


def test_every_flag_of_what_is_not_trusted_has_its_words() -> None:
    assert set(FLAGS) == UNTRUSTED


def test_too_many_readings_are_not_shown_one_by_one() -> None:
    card = line_card(KINDS[0], measured({5: 50}, None, None), CALENDAR)
    assert isinstance(card.chart, Line)
    assert card.chart.dots == ()
    assert card.flagged == ("There are too many readings to show each of them; the days' values are shown.",)


@pytest.mark.parametrize(
    ("minutes", "mean", "says"),
    [
        (300, 420, "5 h 00 min asleep in the night to Thu 5 Mar, less than the usual 6 h 55 min to 7 h 05 min."),
        (421, 420, "within the usual"),
        (500, 420, "more than the usual"),
        (500, None, "too few nights"),
    ],
)
def test_a_night_stands_beside_what_is_usual(minutes: float, mean: float | None, says: str) -> None:
    (sentence,) = sleep_card(material(sleep_total=measured({5: minutes}, mean))).sentences
    assert says in sentence


def test_nights_are_shown_by_stage_where_stages_are_known() -> None:
    stages = {"sleep_deep": measured({5: 60}), "sleep_light": measured({5: 240}), "sleep_rem": measured({5: 90})}
    card = sleep_card(material(sleep_total=measured({5: 390, 6: 420}), **stages))
    assert isinstance(card.chart, Stack)
    parts = {part.name: part.values for part in card.chart.parts}
    assert {name: values[3:5] for name, values in parts.items()} == {
        "deep": (1, 0),
        "light": (4, 0),
        "REM": (1.5, 0),
        "asleep": (0, 7),
    }
    assert card.table is not None
    assert card.table.rows[2:5] == (
        ("Wed 4 Mar", "no data", "-", "-", "-", "-"),
        ("Thu 5 Mar", "6:30", "1:00", "4:00", "1:30", "-"),
        ("Fri 6 Mar", "7:00", "-", "-", "-", "-"),
    )


def test_a_night_without_its_whole_is_still_a_night() -> None:
    card = sleep_card(material(sleep_deep=measured({5: 60})))
    assert card.sentences == ("How long was slept in all is not known of these nights.",)


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=BERLIN)


def switched(day: int, mode: str, previous: str = "baseline") -> dict[str, Any]:
    return {"at": at(day, 6), "mode": mode, "previous": previous, "reason": "because"}


PERSON = {"mode": "guardian", "mode_since": at(5), "reason": None}


@pytest.mark.parametrize(
    ("facts", "spans"),
    [
        ({}, []),
        ({"mode": PERSON}, [("guardian", at(5), NOW)]),
        ({"mode": PERSON | {"mode_since": at(1)}}, [("guardian", at(2), NOW)]),
        ({"before": {"mode": "reflex"}}, [("reflex", at(2), NOW)]),
        (
            {"before": {"mode": "reflex"}, "switches": (switched(4, "pattern"),)},
            [("reflex", at(2), at(4, 6)), ("pattern", at(4, 6), NOW)],
        ),
        (
            {"mode": PERSON, "switches": (switched(4, "guardian", "sentinel"),)},
            [("sentinel", at(2), at(4, 6)), ("guardian", at(4, 6), NOW)],
        ),
        ({"mode": PERSON, "now": at(1)}, []),
        ({"before": {"mode": "reflex"}, "now": at(20)}, [("reflex", at(2), at(9))]),
    ],
)
def test_modes_fill_the_days_until_now(facts: dict[str, Any], spans: Any) -> None:
    assert mode_spans(replace(material(), **facts)) == spans


def test_the_mode_now_is_told_of_days_that_reach_to_now() -> None:
    facts = replace(material(), mode=PERSON | {"reason": "HRV fell"})
    assert mode_card(facts).sentences == ("Now guardian, since Thu 5 Mar 00:00: HRV fell",)
    assert mode_card(replace(facts, mode=PERSON)).sentences == ("Now guardian, since Thu 5 Mar 00:00",)
    assert mode_card(replace(facts, now=at(20))).sentences == ()


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_noon_is_in_the_middle_of_a_day_only_where_clocks_do_not_change(day: date, hours: int) -> None:
    calendar = Calendar(day, day + timedelta(days=1), BERLIN)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=BERLIN)
    assert calendar.place(noon) == pytest.approx((12 - 24 + hours) / hours)
    assert calendar.place(noon + timedelta(days=1)) == 1.5
    assert calendar.place(calendar.start - timedelta(hours=1)) == 0
    assert calendar.place(calendar.end + timedelta(hours=1)) == 2
    assert (calendar.end - calendar.start.astimezone(UTC)) / timedelta(hours=1) == hours + 24


async def test_more_readings_than_can_be_shown_are_not_all_fetched() -> None:
    class Many:
        async def raw(self, asked: Any, _position: Any, limit: int) -> list[Any]:
            return [reading(5, 60)] * (limit if asked.metric == "hrv_rmssd" else 1)

        async def daily_values(self, *_: Any) -> list[Any]:
            facts = {"metric": "hrv_rmssd", "source": "b", "count": 2, "total": 120_000_000}
            return [facts | {"day": date(2026, 3, 1)}, facts | {"day": date(2026, 3, 5), "source": "a"}]

        async def switches(self, *_: Any) -> list[Any]:
            return []

        async def mode(self, *_: Any) -> None: ...

        async def switch_before(self, *_: Any) -> None: ...

    many: Any = Many()
    found = await fetch(many, many, "anna", CALENDAR, NOW)
    assert MOST_READINGS > 100
    assert found.measured["hrv_rmssd"].readings is None
    assert found.measured["hrv_rmssd"].values == {date(2026, 3, 1): 60, date(2026, 3, 5): 60}
    usual = found.measured["hrv_rmssd"].usual[date(2026, 3, 5)]
    assert usual is not None
    assert usual.days == 1
    assert found.sources == ("a", "oura/ring")


CHARTS: list[Chart] = [
    Line(
        LABELS, "ms", tuple(Day(v, 60, 55, 65) for v in (61, None, 58, 70, 41, 44, 50)), (Dot(1.2, 300, True),), 0, 100
    ),
    Line(LABELS, "%", (Day(),) * 7),
    Line(tuple(f"Mon\n{day}" for day in range(31)), "ms", (Day(50),) * 31, (Dot(1, 50),)),
    Stack(LABELS, "hours asleep", (Part("deep", (1.0,) * 7), Part("asleep", (2.0,) * 7)), (Day(3, 3, 2, 4),) * 7),
    Modes(LABELS, tuple(Span(mode.value, index, index + 1) for index, mode in enumerate(Mode))),
]


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_drawn_the_same_each_time_with_letters_that_can_be_read(chart: Chart) -> None:
    drawn = svg(chart)
    assert drawn == svg(chart)
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert texts
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )*([\d.]+)px", drawn)]
    width = float((root.get("viewBox") or "").split()[2])
    # On a phone the picture is some 330 pixels wide.
    assert sizes
    assert min(sizes) * 330 / width >= 9.5
    if isinstance(chart, Modes):
        assert set(texts) >= {mode.value for mode in Mode}


def test_flagged_readings_and_what_is_usual_are_named_in_the_chart() -> None:
    assert "flagged, not counted" in svg(CHARTS[0])
    assert "usual (28 days)" in svg(CHARTS[0])
    assert "flagged" not in svg(CHARTS[1])


async def test_beyond_its_bound_a_report_is_refused_for_now() -> None:
    subject = Drawing(most_waiting=1)
    first = asyncio.create_task(subject.draw(CHARTS[:1]))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="too many"):
        await subject.draw(CHARTS[:1])
    assert len(await first) == 1
    assert len(await subject.draw(CHARTS[:1])) == 1


async def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[asyncio.subprocess.Process] = []
    create = asyncio.create_subprocess_exec

    async def slow(*_: Any, **more: Any) -> asyncio.subprocess.Process:
        begun.append(await create(sys.executable, "-c", "import time; time.sleep(600)", **more))
        return begun[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    with pytest.raises(UnavailableError, match="not drawn"):
        await Drawing(timeout_seconds=0.2).draw(CHARTS[:1])
    assert begun[0].returncode is not None


async def test_a_process_that_fails_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    create = asyncio.create_subprocess_exec

    async def failing(*_: Any, **more: Any) -> asyncio.subprocess.Process:
        return await create(sys.executable, "-c", "raise SystemExit(3)", **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", failing)
    with pytest.raises(DrawingError, match="3"):
        await Drawing().draw(CHARTS[:1])


async def test_the_process_that_draws_gets_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    create = asyncio.create_subprocess_exec

    async def watched(*command: Any, **more: Any) -> asyncio.subprocess.Process:
        seen.update(more["env"])
        return await create(*command, **more)

    monkeypatch.setenv("AUREN_DATABASE_USER", "x")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    await Drawing().draw(CHARTS[:1])
    assert set(seen) <= {"PATH", "PYTHONPATH", "VIRTUAL_ENV", "MPLCONFIGDIR", "OPENBLAS_NUM_THREADS"} | {
        "PYTHONDONTWRITEBYTECODE"
    }


def test_a_wrong_value_does_not_flatten_the_right_ones() -> None:
    days = tuple(Day(value) for value in (50, 52, 54, 50, 52, 54, 50))
    with_flag = svg(Line(LABELS, "ms", days, (Dot(1.2, 900.0, flagged=True),)))
    alone = svg(Line(LABELS, "ms", (Day(),) * 7, (Dot(1.2, 900.0, flagged=True),)))
    assert greatest_number(with_flag) < 60
    assert greatest_number(alone) > 800


def greatest_number(drawn: str) -> int:
    """The highest label of an axis."""
    return max(int(text) for text in re.findall(r">(\d+)</text>", drawn))


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 1e-320, 0.0])
def test_whatever_number_a_device_sends_is_drawn(value: float) -> None:
    rows = [reading(5, value, ["implausible"]), reading(6, -value, ["implausible"])]
    card = line_card(KINDS[0], measured({}, None, rows), CALENDAR)
    assert card.chart is not None
    assert "flagged, not counted" in svg(card.chart)


def test_of_many_switches_the_newest_are_told() -> None:
    many = tuple(switched(3, f"mode {n}") for n in range(70))
    table = mode_card(replace(material(), switches=many)).table
    assert table is not None
    assert table.caption == "Switches of the mode, the newest 60 of 70"
    assert (len(table.rows), table.rows[-1][1]) == (60, "mode 69")
