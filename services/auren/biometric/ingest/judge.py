"""What follows from a person's values: patterns and the mode, at the person's clock. Pure; one judge per process."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from auren import patterns
from auren.biometric.ingest.person import HOURLY, Person
from auren.events import Event
from auren.modes import Snapshot, Thresholds, derived, signals
from auren.modes.machine import step
from auren.modes.switches import ModeSwitch, switch_id
from auren.patterns import Known

PATTERN_METRICS: Final = frozenset({*HOURLY, "recovery_score"})
"""Readings of these may begin or end a pattern; so may a night, and a new day."""


class Judge:
    """Applies thresholds. `held` are the metrics whose latest value it needs."""

    def __init__(self, thresholds: Thresholds) -> None:
        """The thresholds in force."""
        self._thresholds = thresholds
        measured = {name for name, metric in thresholds.metrics.items() if not metric.signal}
        self.held = frozenset(measured | set(signals.ANOMALOUS))

    def patterns(self, person: Person, event: Event) -> list[Known]:
        """Patterns of the person that this event begins, changes or ends; the person has them afterwards."""
        today = person.today
        if today == person.patterns_day and not _concerns_patterns(event):
            return []
        person.patterns_day = today
        person.tidy(today)
        changed = patterns.changes(person.patterns, patterns.find(_history(person, today)), person.clock)
        for key, known in changed.items():
            if known.ended_at is None:
                person.patterns[key] = known
            else:
                del person.patterns[key]
        return list(changed.values())

    def mode(self, person: Person, event: Event) -> ModeSwitch | None:
        """The decision that the person's mode is another one since this event, if it is."""
        compared = person.compared(person.today)
        active = [(pattern.level, pattern.confidence) for pattern in person.patterns.values()]
        found = signals.signals(person.held, compared.bounds, compared.rem_variation, active, person.clock)
        values = derived(person.held | found)
        previous = person.mode
        person.mode, decision = step(
            previous, Snapshot(values=values, now=person.clock, baselines=compared.usual), self._thresholds
        )
        if decision is None:
            return None
        return ModeSwitch(
            switch_id=switch_id(event.event_id),
            user_id=person.user_id,
            at=person.clock,
            mode=decision.mode,
            previous=previous.mode,
            rule=decision.rule,
            reason=decision.reason,
            confidence=round(decision.confidence, 3),
            evidence=decision.evidence,
            off=decision.off,
            event_id=event.event_id,
        )


def _concerns_patterns(event: Event) -> bool:
    return event.kind in {"sleep", "deletion"} or any(r.metric in PATTERN_METRICS for r in event.readings)


def _history(person: Person, today: date) -> patterns.History:
    return patterns.History(
        clock=person.clock,
        today=today,
        starts=_main_nights(person),
        recent=[(metric, time, kept.value) for (metric, _, time), kept in person.recent.items()],
        days=person.days,
        hours=person.hours,
    )


def _main_nights(person: Person) -> dict[date, datetime]:
    """The longest sleep of each day: naps are none."""
    longest = sorted(person.nights.values(), key=lambda night: (night.end - night.start, night.start))
    return {night.day: night.start for night in longest}
