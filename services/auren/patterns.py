"""What recurs in a person's days: four patterns, each with the numbers that show it. Pure.

Days and hours are the person's own. A pattern is of level `notice` or `high`; `confidence`, from 0 to 1, says how much
there is to see it in. Bounds are those of the design (services.md is not needed to read them: they stand here).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

import msgspec

from auren.baselines import LONG, Amount, Days, baseline, value_of_day, values_of_days

NIGHTS_DAYS: Final = 14
LEAST_NIGHTS: Final = 5
IRREGULAR_MINUTES: Final = 120.0
VERY_IRREGULAR_MINUTES: Final = 180.0
"""Standard deviation of the start of sleep."""

DEFICIT_READINGS: Final = 5
DEFICIT_HIGH: Final = 0.20
"""How many readings of 24 hours, and the share below the mean from which a deficit is a high one."""

DIP_DAYS: Final = 30
LEAST_DIPS: Final = 5
MANY_DIPS: Final = 10
LEAST_HOURS: Final = 24
"""Hours that must have a value before one of them can be called low."""

WEEKS_DAYS: Final = 56
LOW_RECOVERY: Final = 40.0
LEAST_LOW_DAYS: Final = 3
MANY_LOW_DAYS: Final = 5

LEAST_SHARE: Final = 1 / 3
"""An hour or a weekday that is low now and then is none that recurs: at least this share of its days must be low."""

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Kind = Literal["circadian-disruption", "recovery-deficit", "recurring-dip", "low-recovery-weekday"]
Level = Literal["notice", "high"]
Hours = Mapping[tuple[date, int], Mapping[str, Amount]]


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. `detail` tells findings of one kind apart: a metric, an hour, a weekday; empty for a single one."""

    kind: Kind
    detail: str = ""
    level: Level
    confidence: float
    evidence: dict[str, object]


@dataclass(frozen=True, slots=True)
class History:
    """What patterns are found in. `today` is the person's day at `clock`.

    `starts`: by day of waking, when the night's sleep began, in the person's own time. `recent`: HRV readings of the
    24 hours before `clock` as (metric, time, value). `days` and `hours` by metric.
    """

    clock: datetime
    today: date
    starts: Mapping[date, datetime]
    recent: Sequence[tuple[str, datetime, float]]
    days: Mapping[str, Days]
    hours: Mapping[str, Hours]


def find(history: History) -> tuple[Pattern, ...]:
    """All patterns as of the history's clock."""
    return (
        *_circadian(history),
        *_deficits(history),
        *_dips(history),
        *_weekdays(history),
    )


def _circadian(history: History) -> Iterator[Pattern]:
    since = history.today - timedelta(days=NIGHTS_DAYS - 1)
    starts = {day: start for day, start in history.starts.items() if since <= day <= history.today}
    if len(starts) < LEAST_NIGHTS:
        return
    sd = _sd([_minutes_after_noon(start) for start in starts.values()])
    if sd > IRREGULAR_MINUTES:
        yield Pattern(
            kind="circadian-disruption",
            level="high" if sd > VERY_IRREGULAR_MINUTES else "notice",
            confidence=_rounded(len(starts) / NIGHTS_DAYS + (1 - LEAST_NIGHTS / NIGHTS_DAYS) / 2),
            evidence={
                "nights": len(starts),
                "sd_minutes": round(sd, 1),
                "limit_minutes": IRREGULAR_MINUTES,
                "starts": {day.isoformat(): starts[day].isoformat(timespec="minutes") for day in sorted(starts)},
            },
        )


def _minutes_after_noon(start: datetime) -> int:
    """So that midnight lies in the middle: 23:50 and 00:10 are twenty minutes apart."""
    return (start.hour * 60 + start.minute - 720) % 1440


def _deficits(history: History) -> Iterator[Pattern]:
    since = history.clock - timedelta(hours=24)
    for metric in sorted({metric for metric, _, _ in history.recent}):
        readings = sorted((time, value) for m, time, value in history.recent if m == metric and time > since)
        usual = baseline(metric, history.days.get(metric, {}), history.today, LONG)
        if len(readings) < DEFICIT_READINGS or usual is None or not usual.trusted:
            continue
        mean = math.fsum(value for _, value in readings[-DEFICIT_READINGS:]) / DEFICIT_READINGS
        if mean < usual.mean - usual.sd:
            yield Pattern(
                kind="recovery-deficit",
                detail=metric,
                level="high" if mean < (1 - DEFICIT_HIGH) * usual.mean else "notice",
                confidence=_rounded(0.5 + usual.days / LONG / 2),
                evidence={
                    "mean": round(mean, 2),
                    "readings": DEFICIT_READINGS,
                    "usual": round(usual.mean, 2),
                    "usual_sd": round(usual.sd, 2),
                    "usual_days": usual.days,
                },
            )


def _dips(history: History) -> Iterator[Pattern]:
    since = history.today - timedelta(days=DIP_DAYS - 1)
    for metric, hours in sorted(history.hours.items()):
        values = {
            when: value
            for when, sources in hours.items()
            if since <= when[0] <= history.today and (value := value_of_day(metric, sources.values())) is not None
        }
        if len(values) < LEAST_HOURS:
            continue
        ordered = [values[when] for when in sorted(values)]
        limit = math.fsum(ordered) / len(ordered) - _sd(ordered)
        yield from _dips_below(metric, values, limit)


def _dips_below(metric: str, values: Mapping[tuple[date, int], float], limit: float) -> Iterator[Pattern]:
    by_hour: dict[int, list[date]] = defaultdict(list)
    low: dict[int, list[date]] = defaultdict(list)
    for (day, hour), value in sorted(values.items()):
        by_hour[hour].append(day)
        if value < limit:
            low[hour].append(day)
    for hour, days in sorted(low.items()):
        share = len(days) / len(by_hour[hour])
        if len(days) >= LEAST_DIPS and share >= LEAST_SHARE:
            yield Pattern(
                kind="recurring-dip",
                detail=f"{metric} at {hour:02d}",
                level="high" if len(days) >= MANY_DIPS else "notice",
                confidence=_rounded(share),
                evidence={
                    "metric": metric,
                    "hour": hour,
                    "below": round(limit, 2),
                    "days": [day.isoformat() for day in days],
                    "days_with_a_value": len(by_hour[hour]),
                },
            )


def _weekdays(history: History) -> Iterator[Pattern]:
    first = history.today - timedelta(days=WEEKS_DAYS - 1)
    values = values_of_days("recovery_score", history.days.get("recovery_score", {}), first, history.today)
    for weekday, name in enumerate(WEEKDAYS):
        days = [day for day in values if day.weekday() == weekday]
        low = [day for day in days if values[day] < LOW_RECOVERY]
        if len(low) >= LEAST_LOW_DAYS and len(low) / len(days) >= LEAST_SHARE:
            yield Pattern(
                kind="low-recovery-weekday",
                detail=name,
                level="high" if len(low) >= MANY_LOW_DAYS else "notice",
                confidence=_rounded(len(low) / len(days)),
                evidence={
                    "below": LOW_RECOVERY,
                    "days": {day.isoformat(): round(values[day], 1) for day in low},
                    "days_with_a_value": len(days),
                },
            )


def _sd(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0


def _rounded(confidence: float) -> float:
    return round(min(1.0, confidence), 3)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern as it is stored: since when it was found, when last, and when it was not found any more."""

    kind: str
    detail: str
    level: str
    confidence: float
    evidence: dict[str, object]
    since: datetime
    last_seen: datetime
    ended_at: datetime | None = None


def changes(
    active: Mapping[tuple[str, str], Known], found: Iterable[Pattern], clock: datetime
) -> dict[tuple[str, str], Known]:
    """What is to be stored of the patterns found now: new ones, those that look different, those that ended."""
    now: dict[tuple[str, str], Pattern] = {(pattern.kind, pattern.detail): pattern for pattern in found}
    changed: dict[tuple[str, str], Known] = {}
    for key, pattern in now.items():
        known = active.get(key)
        if known is None or (known.level, known.evidence) != (pattern.level, pattern.evidence):
            changed[key] = Known(
                kind=pattern.kind,
                detail=pattern.detail,
                level=pattern.level,
                confidence=pattern.confidence,
                evidence=pattern.evidence,
                since=clock if known is None else known.since,
                last_seen=clock,
            )
    for key in active.keys() - now.keys():
        changed[key] = msgspec.structs.replace(active[key], ended_at=clock)
    return changed
