"""What the biometric service has learnt of a person, as NEUROS reads it: baselines, patterns, the mode, nights.

One connection, a few statements by primary keys; one statement while somebody talks and nothing new was measured.
Values of today are no part of a baseline, as everywhere.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
import msgspec

from auren.baselines import CUMULATIVE, LONG, SHORT, Baseline, DayValue, baseline, value_of_day
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
WEEKLY: Final = frozenset({"sleep_rem"})
"""Metrics whose last week is looked at by itself: its variation is a signal (modes/signals.py)."""

DAILY: Final = frozenset({"hrv_rmssd", "hrv_sdnn", "resting_heart_rate"}) | CUMULATIVE
"""Metrics whose values are looked at day by day: for red flags (guard/flags.py), and what adds up over a day."""

KEPT_SECONDS: Final = 300.0
"""How long what was read of a person may be used again: as long as one talks."""

MOST_KEPT: Final = 200
"""People of whom it is kept; some 100 KiB each."""

_PERSON = """
SELECT p.revision, p.state, s.reason, s.confidence, s.evidence FROM people p LEFT JOIN LATERAL (
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

    `days` are the values of the last days by metric and day, oldest first and today included. `week` has the metrics of
    WEEKLY alone, `days` those of DAILY: the rest would be computed for each message and looked at for none.
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


class Learnt(NamedTuple):
    """What the ingest has written of a person in one transaction with `revision`, as of the person's `today`."""

    revision: int
    today: date
    month: Mapping[str, Baseline]
    week: Mapping[str, Baseline]
    days: Mapping[str, Mapping[date, float]]
    patterns: tuple[ActivePattern, ...]
    nights: tuple[Night, ...]


class Known:
    """Reads it. Four weeks of days are some hundred rows: they are read again only when the person's row is a new one.

    They are kept for the minutes of a talk, and of the people who talked last.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """The pool is the service's. `clock` gives seconds."""
        self._database = database
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Learnt]] = OrderedDict()  # the oldest first

    async def of(self, user_id: str, now: datetime) -> Knowledge:
        """What is known of a person; of somebody of whom nothing came, nothing. Raises UnavailableError."""
        try:
            async with self._database.connection() as connection:
                found = await self._read(connection, user_id, now)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("database", type(error).__name__) from error
        self._forget_old()
        return found

    def forget(self, user_id: str) -> None:
        """Keep nothing of a person between messages."""
        self._kept.pop(user_id, None)

    async def _read(self, connection: PoolConnectionProxy, user_id: str, now: datetime) -> Knowledge:
        person = await connection.fetchrow(_PERSON, user_id)
        if person is None:
            self._kept.pop(user_id, None)
            return Knowledge(now.astimezone(UTC).date())
        state = _person_state(person["state"])
        today = now.astimezone(timezone(timedelta(minutes=state.offset_minutes))).date()
        learnt = self._kept[user_id][1] if user_id in self._kept else None
        if learnt is None or (learnt.revision, learnt.today) != (person["revision"], today):
            learnt = await _learnt(connection, user_id, person["revision"], today)
            self._kept.pop(user_id, None)
            self._kept[user_id] = self._clock(), learnt
        return Knowledge(
            today=today,
            standing=_standing(state, person),
            held=state.held,
            month=learnt.month,
            week=learnt.week,
            days=learnt.days,
            patterns=learnt.patterns,
            nights=learnt.nights,
        )

    def _forget_old(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        while self._kept and (len(self._kept) > MOST_KEPT or next(iter(self._kept.values()))[0] < oldest):
            self._kept.popitem(last=False)


async def _learnt(connection: PoolConnectionProxy, user_id: str, revision: int, today: date) -> Learnt:
    """Read after the revision: what comes in between makes another revision, and is read again."""
    rows = await connection.fetch(_DAYS, user_id, list(METRICS), today - timedelta(days=LONG), today)
    patterns = await connection.fetch(_PATTERNS, user_id)
    nights = await connection.fetch(_NIGHTS, user_id, today - timedelta(days=NIGHTS))
    days = _days_by_metric(rows)
    return Learnt(
        revision=revision,
        today=today,
        month=_baselines(days, today, LONG),
        week=_baselines(_only(days, WEEKLY), today, SHORT),
        days={metric: _values(metric, found) for metric, found in _only(days, DAILY).items()},
        patterns=tuple(ActivePattern(*row) for row in patterns),
        nights=tuple(Night(*row) for row in nights),
    )


def _standing(state: PersonState, person: asyncpg.Record) -> Standing:
    """The mode, and why it was switched to."""
    return Standing(
        state.mode,
        person["reason"],
        1.0 if person["confidence"] is None else person["confidence"],
        _evidence_of(person["evidence"]),
    )


Days = dict[date, dict[str, DayValue]]
"""Rows of `daily_values` of one metric by day and source."""


def _days_by_metric(rows: Iterable[Iterable[Any]]) -> dict[str, Days]:
    """Rows as `_DAYS` gives them; some hundreds for each message."""
    found: dict[str, Days] = {}
    for metric, day, source, readings, total in rows:
        found.setdefault(metric, {}).setdefault(day, {})[source] = DayValue(day, source, readings, total)
    return found


def _only(days: Mapping[str, Days], metrics: frozenset[str]) -> dict[str, Days]:
    return {metric: of for metric, of in days.items() if metric in metrics}


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
