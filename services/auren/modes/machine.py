"""From one decision to the next: a mode stays until there is reason enough, and time enough, for another. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from auren.modes.engine import Decision, Snapshot, explain, found_rule
from auren.modes.thresholds import DEFAULTS, Mode, Thresholds


class ModeState(msgspec.Struct, frozen=True):
    """The mode that a person is in, since when (None: no event yet), and the rule that holds it (None: none does).

    `switched_at` is when the mode last became another one, None while it is the first.
    """

    mode: Mode = Mode.BASELINE
    since: datetime | None = None
    rule: str | None = None
    switched_at: datetime | None = None


INITIAL: Final = ModeState()


def step(state: ModeState, snapshot: Snapshot, thresholds: Thresholds = DEFAULTS) -> tuple[ModeState, Decision | None]:
    """The state after this moment, and the decision when the mode is another one now.

    `snapshot.now` must not go back from call to call. While the cooldown lasts the mode stays; what calls for another
    one then still does when it is over, at the next call.
    """
    found = found_rule(snapshot, thresholds, (state.mode, state.rule))
    mode = Mode.BASELINE if found is None else found.rule.mode
    name = None if found is None else found.rule.id
    if mode is state.mode:
        if name == state.rule and state.since is not None:
            return state, None
        return ModeState(mode, state.since or snapshot.now, name, state.switched_at), None
    if state.switched_at is not None and snapshot.now - state.switched_at < thresholds.switching.cooldown(mode):
        return state, None
    return ModeState(mode, snapshot.now, name, snapshot.now), explain(found, snapshot, thresholds)
