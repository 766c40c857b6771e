"""From what was fetched to what a report says: sentences, charts, tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Final

from auren.baselines import Baseline
from auren.biometric.report.charts import Day, Dot, Line, Modes, Part, Span, Stack
from auren.biometric.report.material import SLEEP, Calendar, Material, Measured, Row
from auren.biometric.report.page import Card, Report, Table
from auren.plausibility import FUTURE, IMPLAUSIBLE, LATE

NO_VALUE: Final = "no data"
MOST_NOTES: Final = 8
MOST_SWITCH_ROWS: Final = 60
GREATEST_DRAWN: Final = 1e6
FLAGS: Final[Mapping[str, str]] = {
    IMPLAUSIBLE: "outside what a body does",
    FUTURE: "dated in the future",
    LATE: "arrived too late to count",
}
"""Flags of readings that nothing is computed from, in words. Readings with a flag of their vendor count."""

_MINUTES: Final = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """How a metric is told."""

    metric: str
    title: str
    unit: str
    decimals: int
    lowest: float | None = None
    highest: float | None = None

    @property
    def name(self) -> str:
        """As it stands within a sentence."""
        return self.title[0].lower() + self.title[1:]

    def number(self, value: float | None) -> str:
        """A value as people read it, without its unit."""
        return NO_VALUE if value is None else f"{value:.{self.decimals}f}"


KINDS: Final = (
    Kind("hrv_rmssd", "Heart rate variability (RMSSD)", "ms", 0, lowest=0),
    Kind("hrv_sdnn", "Heart rate variability (SDNN)", "ms", 0, lowest=0),
    Kind("resting_heart_rate", "Resting heart rate", "beats per minute", 0),
    Kind("recovery_score", "Recovery", "%", 0, lowest=0, highest=100),
)


def report(material: Material) -> Report:
    """The whole report."""
    calendar = material.calendar
    days = f"{_day(calendar.first)} to {_day(calendar.last, year=True)}"
    return Report(
        title=f"Report for {days}",
        subtitle=f"Of {material.user_id}. Times are in {calendar.zone.key}, days those of the devices' clocks.",
        cards=(mode_card(material), *_measured_cards(material), sleep_card(material)),
        footer=_footer(material),
    )


def _footer(material: Material) -> tuple[str, ...]:
    made = material.now.astimezone(material.calendar.zone)
    sources = ", ".join(material.sources) or "no device sent any value of these days"
    return (
        f"Made by AUREN on {_day(made.date(), year=True)} at {made:%H:%M} ({material.calendar.zone.key}) from the "
        f"measurements that are stored. Sources: {sources}.",
        "Usual is the mean of the values of the 28 days before each day, give or take one standard deviation, from "
        "seven days on. A cross marks a reading that is not trusted and counts nowhere.",
        "These are the numbers of devices, no diagnosis.",
    )


def _measured_cards(material: Material) -> list[Card]:
    """Each metric; of the two kinds of HRV, which devices have one of, the one that there is."""
    there = {kind.metric for kind in KINDS if _anything(material.measured[kind.metric], material.calendar)}
    left_out = {"hrv_rmssd" if "hrv_sdnn" in there else "hrv_sdnn"} - there
    return [
        line_card(kind, material.measured[kind.metric], material.calendar)
        for kind in KINDS
        if kind.metric not in left_out
    ]


def _anything(measured: Measured, calendar: Calendar) -> bool:
    return bool(measured.readings) or any(day in measured.values for day in calendar.days)


def line_card(kind: Kind, measured: Measured, calendar: Calendar) -> Card:
    """A metric day by day."""
    if not _anything(measured, calendar):
        return Card(kind.title, nothing=f"No data: {kind.name} was not measured on these days.")
    chart = Line(
        labels=_labels(calendar),
        unit=kind.unit,
        days=tuple(_chart_day(measured, day) for day in calendar.days),
        dots=_dots(measured, calendar),
        lowest=kind.lowest,
        highest=kind.highest,
    )
    return Card(
        kind.title,
        sentences=(_newest(kind, measured, calendar),),
        chart=chart,
        alt=f"Line chart: {kind.name} of each day in {kind.unit}, with what is usual as a band. "
        "The table below has the numbers.",
        table=_table(kind, measured, calendar),
        flagged=_notes(kind, measured, calendar),
    )


def _chart_day(measured: Measured, day: date, scale: float = 1.0) -> Day:
    usual = _range(measured.usual[day])
    value = measured.values.get(day)
    low, middle, high = (bound / scale for bound in usual) if usual else (None, None, None)
    return Day(None if value is None else value / scale, middle, low, high)


def _range(usual: Baseline | None) -> tuple[float, float, float] | None:
    """(low, middle, high) of what is usual, where it is trusted."""
    if usual is None or not usual.trusted:
        return None
    return usual.mean - usual.sd, usual.mean, usual.mean + usual.sd


def _dots(measured: Measured, calendar: Calendar) -> tuple[Dot, ...]:
    return tuple(
        Dot(calendar.place(row["time"]), _drawable(row["value"]), flagged=bool(_untrusted(row)))
        for row in measured.readings or ()
    )


def _drawable(value: float) -> float:
    """The value within what an axis can show: what a device sends is any number."""
    return min(max(value, -GREATEST_DRAWN), GREATEST_DRAWN)


def _untrusted(row: Row) -> list[str]:
    return [FLAGS[flag] for flag in row["flags"] or () if flag in FLAGS]


def _newest(kind: Kind, measured: Measured, calendar: Calendar) -> str:
    known = [day for day in calendar.days if day in measured.values]
    if not known:
        return "No reading of these days is trusted."
    day = known[-1]
    value = f"{kind.number(measured.values[day])} {kind.unit} on {_day(day)}"
    usual = _range(measured.usual[day])
    if usual is None:
        return f"Newest: {value}. There are too few days yet to say what is usual."
    low, _, high = usual
    where = "below" if measured.values[day] < low else "above" if measured.values[day] > high else "within"
    return f"Newest: {value}, {where} the usual {kind.number(low)} to {kind.number(high)}."


def _table(kind: Kind, measured: Measured, calendar: Calendar) -> Table:
    rows = tuple(
        (
            _day(day),
            kind.number(measured.values.get(day)),
            _usual(kind, measured.usual[day]),
            str(measured.counts.get(day, 0)),
        )
        for day in calendar.days
    )
    return Table(f"{kind.title}, {kind.unit}", ("Day", "Value", "Usual", "Readings"), rows)


def _usual(kind: Kind, usual: Baseline | None) -> str:
    found = _range(usual)
    return "too few days" if found is None else f"{kind.number(found[0])} to {kind.number(found[2])}"


def _notes(kind: Kind, measured: Measured, calendar: Calendar) -> tuple[str, ...]:
    """What is flagged, each with why."""
    if measured.readings is None:
        return ("There are too many readings to show each of them; the days' values are shown.",)
    flagged = [row for row in measured.readings if _untrusted(row)]
    notes = [
        f"{_moment(row['time'], calendar)}: {row['value']:.4g} {kind.unit} from {row['source']} is "
        f"{' and '.join(_untrusted(row))}, and not counted."
        for row in flagged[:MOST_NOTES]
    ]
    if len(flagged) > MOST_NOTES:
        notes.append(f"{len(flagged) - MOST_NOTES} more readings are not trusted and not counted.")
    return tuple(notes)


def sleep_card(material: Material) -> Card:
    """Nights by the day that they end on."""
    calendar, total = material.calendar, material.measured["sleep_total"]
    nights = [day for day in calendar.days if any(day in material.measured[metric].values for metric in SLEEP)]
    if not nights:
        return Card("Sleep", nothing="No data: no night was measured that ended on these days.")
    return Card(
        "Sleep",
        sentences=(_newest_night(total, calendar),),
        chart=Stack(
            labels=_labels(calendar),
            unit="hours asleep",
            parts=_parts(material),
            days=tuple(_chart_day(total, day, scale=_MINUTES) for day in calendar.days),
        ),
        alt="Bar chart: hours asleep of each night by stage, with what is usual as a band. "
        "The table below has the numbers.",
        table=Table(
            "Sleep by the day that the night ends on, hours and minutes",
            ("Day", "Asleep", "Deep", "Light", "REM", "Awake"),
            tuple((_day(day), *_night(material, day)) for day in calendar.days),
        ),
    )


def _parts(material: Material) -> tuple[Part, ...]:
    """The stages; of a night of which only the whole is known, that."""
    days, measured = material.calendar.days, material.measured
    named = {"deep": "sleep_deep", "light": "sleep_light", "REM": "sleep_rem"}
    stages = [
        Part(name, tuple(measured[metric].values.get(day, 0.0) / _MINUTES for day in days))
        for name, metric in named.items()
    ]
    whole = tuple(
        0.0
        if any(day in measured[metric].values for metric in named.values())
        else measured["sleep_total"].values.get(day, 0.0) / _MINUTES
        for day in days
    )
    parts = [*stages, Part("asleep", whole)]
    return tuple(part for part in parts if any(part.values))


def _newest_night(total: Measured, calendar: Calendar) -> str:
    known = [day for day in calendar.days if day in total.values]
    if not known:
        return "How long was slept in all is not known of these nights."
    day = known[-1]
    slept = f"{_hours(total.values[day])} asleep in the night to {_day(day)}"
    usual = _range(total.usual[day])
    if usual is None:
        return f"Newest: {slept}. There are too few nights yet to say what is usual."
    where = "less than" if total.values[day] < usual[0] else "more than" if total.values[day] > usual[2] else "within"
    return f"Newest: {slept}, {where} the usual {_hours(usual[0])} to {_hours(usual[2])}."


def _night(material: Material, day: date) -> list[str]:
    metrics = ("sleep_total", "sleep_deep", "sleep_light", "sleep_rem", "sleep_awake")
    values = [material.measured[metric].values.get(day) for metric in metrics]
    if all(value is None for value in values):
        return [NO_VALUE, *["-"] * (len(metrics) - 1)]
    return ["-" if value is None else _clock(value) for value in values]


def _clock(minutes: float) -> str:
    whole = round(minutes)
    return f"{whole // _MINUTES}:{whole % _MINUTES:02d}"


def _hours(minutes: float) -> str:
    whole = round(minutes)
    return f"{whole // _MINUTES} h {whole % _MINUTES:02d} min"


def mode_card(material: Material) -> Card:
    """Which mode held when, and why it switched."""
    calendar = material.calendar
    spans = mode_spans(material)
    if not spans:
        return Card("Mode", nothing="No data: no mode was decided for these days.", wide=True)
    return Card(
        "Mode",
        sentences=_mode_now(material),
        chart=Modes(_labels(calendar), tuple(Span(m, calendar.place(a), calendar.place(b)) for m, a, b in spans)),
        alt="Timeline: which mode held when. The table below has the switches.",
        table=_switch_table(material.switches, calendar),
        wide=True,
    )


def _mode_now(material: Material) -> tuple[str, ...]:
    """Said in a report that reaches to now."""
    mode = material.mode
    if mode is None or material.calendar.end < material.now:
        return ()
    why = f": {mode['reason']}" if mode["reason"] else ""
    return (f"Now {mode['mode']}, since {_moment(mode['mode_since'], material.calendar)}{why}",)


def mode_spans(material: Material) -> list[tuple[str, datetime, datetime]]:
    """(mode, from, until), in order, within the report's days and not beyond now."""
    calendar, switches = material.calendar, material.switches
    end = min(calendar.end, material.now)
    changes = [(row["at"], row["mode"]) for row in switches if row["at"] < end]
    if material.before is not None:
        changes.insert(0, (calendar.start, material.before["mode"]))
    elif switches:
        changes.insert(0, (calendar.start, switches[0]["previous"]))
    elif material.mode is not None:
        changes.insert(0, (max(calendar.start, material.mode["mode_since"]), material.mode["mode"]))
    spans = pairwise([*changes, (end, "")])
    return [(mode, at, until) for (at, mode), (until, _) in spans if at < until]


def _switch_table(switches: Sequence[Row], calendar: Calendar) -> Table:
    caption = "Switches of the mode"
    if len(switches) > MOST_SWITCH_ROWS:
        caption += f", the newest {MOST_SWITCH_ROWS} of {len(switches)}"
    rows = tuple((_moment(row["at"], calendar), row["mode"], row["reason"]) for row in switches[-MOST_SWITCH_ROWS:])
    return Table(caption, ("When", "Mode", "Why"), rows, texts=True)


_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _day(day: date, *, year: bool = False) -> str:
    """Such as Fri 27 Nov; in English, whatever the machine's locale is."""
    text = f"{_WEEKDAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}"
    return f"{text} {day.year}" if year else text


def _labels(calendar: Calendar) -> tuple[str, ...]:
    return tuple(f"{_WEEKDAYS[day.weekday()]}\n{day.day}" for day in calendar.days)


def _moment(moment: datetime, calendar: Calendar) -> str:
    local = moment.astimezone(calendar.zone)
    return f"{_day(local.date())} {local:%H:%M}"
