"""What came of an intervention: the metrics that its protocol measures, before it and within a window after it. Pure.

The value after is the newest trusted reading of the window, so the same event may come twice, and a late one later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from auren.events import Event
from auren.neuros.interventions.decision import Suggestion
from auren.plausibility import UNTRUSTED, flags

Effect = Literal["better", "worse", "same"]

MOMENTARY: Final = timedelta(hours=1)
"""Within this time after an exercise a value that follows the moment still tells of it."""

NIGHTLY: Final = timedelta(hours=36)
"""Values of a night come on the morning after it, which from any hour of a day is that far at most."""

OF_THE_MOMENT: Final = frozenset({"heart_rate", "hrv_sdnn", "respiratory_rate", "spo2"})
"""Metrics that devices measure at any time of the day; all others are of a night or a day."""

OPEN: Final = timedelta(hours=72)
"""How long events are looked at for an intervention: its longest window, and a day for a phone that comes late."""

BEFORE: Final = timedelta(hours=36)
"""How far back the value before may lie."""

NOTICEABLE: Final = 0.05
"""A change by less than this share of the value before is none."""

FALLS: Final = frozenset({"heart_rate", "resting_heart_rate", "respiratory_rate"})
RISES: Final = frozenset({"hrv_rmssd", "hrv_sdnn", "recovery_score", "sleep_total", "sleep_deep", "sleep_rem"})
"""Which way a metric goes when somebody recovers; of the others no effect is told."""


class Window(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One metric of an intervention: values in the metric's unit, `after` of the window (since, until]."""

    since: datetime
    until: datetime
    before: float | None = None
    before_at: datetime | None = None
    after: float | None = None
    after_at: datetime | None = None

    def effect(self, metric: str) -> Effect | None:
        """What changed; None where a value is missing, or nobody can say what is better."""
        if self.before is None or self.after is None or metric not in FALLS | RISES:
            return None
        change = self.after - self.before
        if abs(change) < NOTICEABLE * abs(self.before):
            return "same"
        return "better" if (change > 0) == (metric in RISES) else "worse"


Outcome = Mapping[str, Window]
"""By metric."""

Value = tuple[float, datetime]

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(dict[str, Window])


def begin(suggestion: Suggestion, at: datetime, before: Mapping[str, Value]) -> Outcome:
    """The windows of what a suggestion measures; they open when the exercise can be over."""
    since = at + suggestion.duration
    found = {}
    for metric in suggestion.measured:
        value, time = before.get(metric, (None, None))
        until = since + (MOMENTARY if metric in OF_THE_MOMENT else NIGHTLY)
        found[metric] = Window(since=since, until=until, before=value, before_at=time)
    return found


def follow(outcome: Outcome, event: Event) -> Outcome:
    """The outcome with what an event tells of it; the same object where that is nothing."""
    found = dict(outcome)
    for reading in event.readings:
        window = found.get(reading.metric)
        if window is None or not window.since < reading.time <= window.until:
            continue
        if window.after_at is not None and reading.time < window.after_at:
            continue
        distrust = {*reading.flags, *flags(reading.metric, reading.value, reading.time, event.received_at)}
        if UNTRUSTED.isdisjoint(distrust):
            found[reading.metric] = msgspec.structs.replace(window, after=reading.value, after_at=reading.time)
    return outcome if found == outcome else found


def pack(outcome: Outcome) -> str:
    """As the table's column holds it."""
    return _encoder.encode(outcome).decode()


def unpack(column: str) -> Outcome:
    """From the table's column."""
    return _decoder.decode(column)
