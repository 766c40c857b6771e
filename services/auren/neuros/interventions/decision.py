"""From a switch of the mode to an intervention, or to the reason why there is none. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from auren.modes import Mode
from auren.modes.switches import ModeSwitch
from auren.neuros.interventions.preferences import Preferences
from auren.neuros.interventions.records import Intervention, Level, intervention_id

Reason = Literal[
    "calm",
    "stale",
    "not-opted-in",
    "superseded",
    "no-protocol",
    "quiet-hours",
    "cooldown",
    "daily-cap",
]
"""`calm`: the new mode asks for nothing. `superseded`: the person is in another mode by now."""


class Kind(NamedTuple):
    """How much an intervention matters, and how long it is worth being told."""

    level: Level
    lasts: timedelta


KINDS: Final = {
    # The body reacts now, and its values count for minutes to hours (thresholds.toml): what helps must come soon.
    Mode.REFLEX: Kind("high", timedelta(minutes=30)),
    # A recovery holds for the day.
    Mode.GUARDIAN: Kind("medium", timedelta(hours=12)),
    Mode.SENTINEL: Kind("low", timedelta(hours=1)),
}
"""The modes whose beginning asks for an intervention."""

LONGEST: Final = max(kind.lasts for kind in KINDS.values())


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What suits a mode: a protocol, its title, how long it takes, and the metrics that show whether it helps."""

    protocol: str
    title: str
    duration: timedelta
    measured: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for everybody. `suggest` gives what suits a mode, None where nothing does."""

    cooldown: timedelta
    stale_after: timedelta
    suggest: Callable[[Mode], Suggestion | None]


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the person now.

    `preferences`: None where they have said nothing. `mode`: the mode now, None where it is not known. `last_at`: their
    newest intervention. `today`: how many there were since their day began.
    """

    preferences: Preferences | None
    mode: Mode | None = None
    last_at: datetime | None = None
    today: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is offered."""

    reason: Reason


def refused_at_once(switch: ModeSwitch, policy: Policy, now: datetime) -> Refusal | None:
    """What needs no knowledge of the person: most switches, and all of a log that is read from its beginning.

    A time that lies as far ahead is no better known than one as far behind.
    """
    if switch.mode not in KINDS or switch.mode == switch.previous:
        return Refusal("calm")
    if abs(now - switch.at) > policy.stale_after:
        return Refusal("stale")
    return None


def decide(switch: ModeSwitch, situation: Situation, policy: Policy, now: datetime) -> Intervention | Refusal:
    """The intervention that a switch leads to, or the first reason against it."""
    refusal = refused_at_once(switch, policy, now) or _refused(switch, situation, policy, now)
    if refusal is not None:
        return refusal
    suggestion = policy.suggest(switch.mode)
    if suggestion is None:
        return Refusal("no-protocol")
    kind = KINDS[switch.mode]
    return Intervention(
        id=intervention_id(switch.switch_id),
        user_id=switch.user_id,
        mode=switch.mode,
        level=kind.level,
        protocol=suggestion.protocol,
        title=suggestion.title,
        evidence=switch.evidence,
        reason=switch.reason,
        at=now,
        expires_at=now + kind.lasts,
    )


def _refused(switch: ModeSwitch, situation: Situation, policy: Policy, now: datetime) -> Refusal | None:
    preferences = situation.preferences
    if preferences is None or not preferences.enabled:
        return Refusal("not-opted-in")
    if situation.mode not in (None, switch.mode):
        return Refusal("superseded")
    if preferences.quiet_hours is not None and preferences.quiet_hours.hold(preferences.local(now)):
        return Refusal("quiet-hours")
    if situation.last_at is not None and now - situation.last_at < policy.cooldown:
        return Refusal("cooldown")
    if situation.today >= preferences.daily_cap:
        return Refusal("daily-cap")
    return None
