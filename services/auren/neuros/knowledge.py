"""What the biometric service has learnt of a person, as NEUROS reads it: baselines, patterns, the mode, nights.

One connection, a few statements by primary keys. Values of today are no part of a baseline, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg
import msgspec

from auren.baselines import LONG, SHORT, Baseline, DayValue, baseline, by_day, value_of_day
from auren.database import Database
from auren.events import METRICS
from auren.link import UnavailableError
from auren.modes import Baseline as Usual
from auren.modes import Mode
from auren.modes.engine import Evidence
from auren.modes.machine import INITIAL, ModeState
from auren.modes.signals import Bounds, usual_bounds, variation
from auren.people import Held, PersonState
from auren.telemetry import logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

NIGHTS: Final = 7
_PERSON = """
SELECT p.state, s.reason, s.confidence, s.evidence FROM people p LEFT JOIN LATERAL (
    SELECT mode, reason, confidence, evidence FROM mode_switches
    WHERE user_id = p.user_id ORDER BY at DESC, id DESC LIMIT 1
) s ON s.mode = p.mode
WHERE p.user_id = $1
"""
_DAYS = """
SELECT metric, day, source, count, total FROM daily_values
WHERE user_id = $1 AND metric = ANY($2) AND day >= $3 AND day <= $4
"""
_PATTERNS = """
SELECT kind, detail, level, confidence, since, last_seen FROM patterns
WHERE user_id = $1 AND ended_at IS NULL ORDER BY kind, detail
"""
_NIGHTS = """
SELECT day, total_minutes, in_bed_minutes FROM sleep_sessions
WHERE user_id = $1 AND day > $2 ORDER BY day, end_time
"""

_state: Final = msgspec.json.Decoder(PersonState | None)
_evidence: Final = msgspec.json.Decoder(tuple[Evidence, ...])
_log = logger(__name__)


class Standing(NamedTuple):
    """The mode that the biometric service has decided, and why: None and () where its switch is not known any more."""

    state: ModeState
    reason: str | None
    confidence: float
    evidence: tuple[Evidence, ...]

    @property
    def mode(self) -> Mode:
        """The mode."""
        return self.state.mode


NOTHING_DECIDED: Final = Standing(INITIAL, None, 1.0, ())


class ActivePattern(NamedTuple):
    """A pattern that is there now (patterns.py)."""

    kind: str
    detail: str
    level: str
    confidence: float
    since: datetime
    last_seen: datetime


class Night(NamedTuple):
    """A sleep session: the day of waking, minutes asleep, minutes in bed."""

    day: date
    asleep: float | None
    in_bed: float | None

    @property
    def efficiency(self) -> float | None:
        """Share of the time in bed that was slept, from 0 to 1; None where either is unknown."""
        if not self.asleep or not self.in_bed or self.asleep > self.in_bed:
            return None
        return self.asleep / self.in_bed


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Of one person. `month` and `week` are baselines of 28 and 7 days by metric, also those not trusted yet.

    `days` are the values of the last days by metric and day, oldest first and today included.
    """

    today: date
    standing: Standing = NOTHING_DECIDED
    held: Mapping[str, Held] = field(default_factory=dict)
    month: Mapping[str, Baseline] = field(default_factory=dict)
    week: Mapping[str, Baseline] = field(default_factory=dict)
    days: Mapping[str, Mapping[date, float]] = field(default_factory=dict)
    patterns: tuple[ActivePattern, ...] = ()
    nights: tuple[Night, ...] = ()

    @property
    def usual(self) -> dict[str, Usual]:
        """What the rules compare with: means of 28 days that are trusted."""
        return {metric: Usual(found.mean, found.days) for metric, found in self.month.items() if found.trusted}

    @property
    def bounds(self) -> dict[str, Bounds]:
        """Beyond which a value is an anomaly."""
        return usual_bounds(self.month)

    @property
    def rem_variation(self) -> float | None:
        """Of the last week's REM sleep."""
        return variation(self.week.get("sleep_rem"))


class Known:
    """Reads it."""

    def __init__(self, database: Database) -> None:
        """The pool is the service's."""
        self._database = database

    async def of(self, user_id: str, now: datetime) -> Knowledge:
        """What is known of a person; of somebody of whom nothing came, nothing. Raises UnavailableError."""
        try:
            async with self._database.connection() as connection:
                return await _read(connection, user_id, now)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("database", type(error).__name__) from error


async def _read(connection: PoolConnectionProxy, user_id: str, now: datetime) -> Knowledge:
    person = await connection.fetchrow(_PERSON, user_id)
    if person is None:
        return Knowledge(now.astimezone(UTC).date())
    state = _person_state(person["state"])
    today = now.astimezone(timezone(timedelta(minutes=state.offset_minutes))).date()
    days = await connection.fetch(_DAYS, user_id, list(METRICS), today - timedelta(days=LONG), today)
    patterns = await connection.fetch(_PATTERNS, user_id)
    nights = await connection.fetch(_NIGHTS, user_id, today - timedelta(days=NIGHTS))
    by_metric = _days_by_metric(DayOf(*row) for row in days)
    return Knowledge(
        today=today,
        standing=Standing(
            state.mode,
            person["reason"],
            1.0 if person["confidence"] is None else person["confidence"],
            _evidence_of(person["evidence"]),
        ),
        held=state.held,
        month=_baselines(by_metric, today, LONG),
        week=_baselines(by_metric, today, SHORT),
        days={metric: _values(metric, found) for metric, found in by_metric.items()},
        patterns=tuple(ActivePattern(*row) for row in patterns),
        nights=tuple(Night(*row) for row in nights),
    )


class DayOf(NamedTuple):
    """A row of `daily_values` of one person."""

    metric: str
    day: date
    source: str
    readings: int
    total: int


def _days_by_metric(rows: Iterable[DayOf]) -> dict[str, dict[date, dict[str, DayValue]]]:
    found: dict[str, list[DayValue]] = {}
    for row in rows:
        found.setdefault(row.metric, []).append(DayValue(*row[1:]))
    return {metric: by_day(of) for metric, of in found.items()}


def _baselines(
    days: Mapping[str, Mapping[date, Mapping[str, DayValue]]], today: date, window_days: int
) -> dict[str, Baseline]:
    return {
        metric: found for metric, of in days.items() if (found := baseline(metric, of, today, window_days)) is not None
    }


def _values(metric: str, days: Mapping[date, Mapping[str, DayValue]]) -> dict[date, float]:
    return {day: value for day in sorted(days) if (value := value_of_day(metric, days[day].values())) is not None}


def _person_state(text: str) -> PersonState:
    """As the ingest reads it: what cannot be read begins anew."""
    try:
        return _state.decode(text) or PersonState()
    except msgspec.DecodeError as error:
        _log.warning("a person's state cannot be read", reason=type(error).__name__)
        return PersonState()


def _evidence_of(text: str | None) -> tuple[Evidence, ...]:
    """Of a switch; what another version wrote so that it cannot be read is none."""
    try:
        return _evidence.decode(text) if text else ()
    except msgspec.DecodeError as error:
        _log.warning("a switch's evidence cannot be read", reason=type(error).__name__)
        return ()
