"""The mode of a reply: the rules of `auren.modes` over what is known now, and over what the message says. Pure.

The biometric service has decided on the person's latest event (the standing mode). Time has passed since, and a message
says something of its own, so the rules are tried again, with the same hysteresis: a rule that only that still holds has
no evidence of now, so what has led to the mode is told. While the cooldown of a switch lasts, the standing mode gives
way to nothing that ranks behind it.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Final

from auren.modes import Decision, Snapshot, Thresholds, Value, decide, derived
from auren.modes.engine import found_rule
from auren.modes.signals import signals
from auren.neuros.guard.flags import Night, Sample, red_flags
from auren.neuros.guard.screen import FEELS_OFF
from auren.neuros.knowledge import Knowledge, Standing
from auren.neuros.turn import Turn

DAILY: Final = "resting_heart_rate"
NOON: Final = time(12)


def choose(turn: Turn, thresholds: Thresholds) -> Decision:
    """The decision for a turn whose context is loaded."""
    snapshot = _snapshot(turn)
    decision = decide(snapshot, thresholds)
    if turn.knowledge is None or turn.knowledge.standing.reason is None:
        return decision
    standing = turn.knowledge.standing
    held = found_rule(snapshot, thresholds, (standing.mode, standing.state.rule))
    if (held.rule.id if held else None) != decision.rule or _cools_down(standing, decision, turn.now, thresholds):
        return _kept(standing, decision)
    return decision


def flags(turn: Turn) -> tuple[str, ...]:
    """The sentences of the red flags of the last days, each once."""
    known = turn.knowledge
    if known is None:
        return ()
    usual = known.usual.get(DAILY)
    found = red_flags(
        now=turn.now,
        hrv=[_daily(known, metric) for metric in ("hrv_rmssd", "hrv_sdnn")],
        nights=_main_nights(known),
        resting_heart_rate=_daily(known, DAILY),
        resting_baseline=usual.mean if usual is not None else None,
    )
    return tuple(dict.fromkeys(sentence for flag in found for sentence in flag.sentences))


def _snapshot(turn: Turn) -> Snapshot:
    latest = turn.latest.values if turn.latest is not None else {}
    values = {metric: Value(value.value, value.time) for metric, value in latest.items()}
    said = turn.cues | (FEELS_OFF if turn.feeling == "off" else frozenset())
    known = turn.knowledge
    if known is None:
        return Snapshot(values=derived(values), now=turn.now, said=said)
    patterns = [(pattern.level, pattern.confidence) for pattern in known.patterns]
    more = signals(known.held, known.bounds, known.rem_variation, patterns, turn.now)
    return Snapshot(values=derived({**values, **more}), now=turn.now, baselines=known.usual, said=said)


def _cools_down(standing: Standing, decision: Decision, now: datetime, thresholds: Thresholds) -> bool:
    """Whether the standing mode was switched to so lately that nothing that ranks behind it counts yet."""
    state = standing.state
    if state.mode is decision.mode or state.switched_at is None:
        return False
    ranks = {rule.id: rank for rank, rule in enumerate(thresholds.rules)}
    behind = ranks.get(decision.rule or "", len(ranks)) > ranks.get(state.rule or "", len(ranks))
    return behind and now - state.switched_at < thresholds.switching.cooldown(decision.mode)


def _kept(standing: Standing, decision: Decision) -> Decision:
    """The standing mode, with why it was chosen: the values of now alone would not lead to it."""
    state, reason = standing.state, standing.reason or ""
    return Decision(state.mode, state.rule, reason, standing.evidence, decision.off, standing.confidence)


def _daily(known: Knowledge, metric: str) -> list[Sample]:
    """The values of days, as if each were measured at noon: what counts is how many days lie between them."""
    return [Sample(datetime.combine(day, NOON, UTC), value) for day, value in known.days.get(metric, {}).items()]


def _main_nights(known: Knowledge) -> list[Night]:
    """The longest sleep of each day whose efficiency is known: naps are none."""
    longest = sorted(known.nights, key=lambda night: night.asleep or 0.0)
    by_day = {night.day: night.efficiency for night in longest}
    return [Night(day, 100 * efficiency) for day, efficiency in sorted(by_day.items()) if efficiency is not None]
